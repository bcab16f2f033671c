{{/* What selects a program's pods. */}}
{{- define "souk.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/name: {{ .service }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{/* A program's pods, those of its canary too. */}}
{{- define "souk.pods" -}}
{{- if and .root.Values.operators.canary.strategy (has .role (list "web" "worker" "celery")) -}}
matchLabels: {{ omit (include "souk.selector" . | fromYaml) "app.kubernetes.io/component" | toJson }}
matchExpressions: [{key: app.kubernetes.io/component, operator: In, values: [{{ .role }}, {{ .role }}-canary]}]
{{- else -}}
matchLabels: {{ include "souk.selector" . | fromYaml | toJson }}
{{- end }}
{{- end }}

{{/* Image and version. Of a program that gets new ones by a Canary (`isPromoted`), those that run: an upgrade would replace them itself. */}}
{{- define "souk.release" -}}
{{- $release := dict "image" (get .root.Values.image.names .service | default (include "souk.image" .root)) "version" .root.Chart.AppVersion }}
{{- if and .isPromoted .root.Values.operators.canary.strategy }}
{{- with lookup "apps/v1" "Deployment" .root.Release.Namespace .program }}
{{- $release = dict "image" (first .spec.template.spec.containers).image "version" (index .spec.template.metadata.labels "app.kubernetes.io/version") }}
{{- end }}
{{- end }}
{{- toJson $release }}
{{- end }}

{{- define "souk.version" -}}
{{ (include "souk.release" . | fromJson).version }}
{{- end }}

{{- define "souk.labels" -}}
{{ include "souk.selector" . }}
app.kubernetes.io/part-of: souk
app.kubernetes.io/version: {{ include "souk.version" . | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "souk.image" -}}
{{ .Values.image.name | default (printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion)) }}
{{- end }}

{{/* PodSecurity `restricted`. user: of the image. */}}
{{- define "souk.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
fsGroup: {{ .user }}
# Not at each start: servers keep files that only they may read.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* reloads: whether code may be written. */}}
{{- define "souk.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: {{ not .reloads }}
capabilities: {drop: [ALL]}
{{- end }}

{{/* Image and command (`run`) of a program of ours. code: what it starts again after a change of, with `liveReload`. */}}
{{- define "souk.container" -}}
{{- $reloads := and .root.Values.liveReload .code -}}
image: {{ (include "souk.release" . | fromJson).image }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [/venv/bin/python, -m]
{{- if $reloads }}
args: {{ concat (list "watchfiles" "--sigint-timeout=20" "--target-type=command" (printf "/venv/bin/python -m %s" (join " " .run))) .code | toJson }}
{{- else }}
args: {{ toJson .run }}
{{- end }}
workingDir: /app
securityContext: {{- include "souk.containerSecurity" (dict "reloads" $reloads) | nindent 2 }}
{{- end }}

{{/* Code that does not start waits for the next change: a new container would have that of the image. */}}
{{- define "souk.livenessProbe" -}}
{{- if not .root.Values.liveReload -}}
livenessProbe: {httpGet: {path: {{ .path }}, port: {{ .port }}}, periodSeconds: 10, timeoutSeconds: 5}
{{- end }}
{{- end }}

{{/* The variables of `settings`, its own over those of all. */}}
{{- define "souk.settings" -}}
{{- $settings := merge (dict) (index .root.Values.settings .service | default dict) .root.Values.settings.all }}
{{- range $name, $value := $settings }}
- {name: {{ $name }}, value: {{ $value | toString | toJson }}}
{{- end }}
{{- end }}

{{- define "souk.environment" -}}
- {name: SOUK_ENVIRONMENT, value: {{ .root.Values.environment }}}
- {name: SOUK_HOST, value: 0.0.0.0}
- {name: SOUK_VERSION, value: {{ include "souk.version" . | toJson }}}
- {name: SOUK_TRUSTED_PROXIES, value: {{ .root.Values.podNetworks | toJson | toJson }}}
{{- if .root.Values.ingress.enabled }}
# The Ingress's, and the edge.
- {name: SOUK_TRUSTED_HOPS, value: "2"}
{{- end }}
{{- if not .isKeyless }}
- {name: SOUK_KEYS_FILE, value: /run/souk/keys/keys.json}
{{- end }}
{{- with include "souk.discovery" . }}
{{ . }}
{{- end }}
{{- include "souk.settings" . }}
{{- end }}

{{/* byName: by the cluster's DNS alone. */}}
{{- define "souk.discovery" -}}
{{- if .byName -}}
{{- else if eq .root.Values.discovery "consul" -}}
- {name: SOUK_CONSUL_URL, value: {{ .root.Values.consul.url | toJson }}}
{{- else if eq .root.Values.discovery "services" -}}
- {name: SOUK_DISCOVERY, value: static}
{{- $addresses := dict }}
{{- range .calls }}
{{- $_ := set $addresses . (printf "http://%s.%s.svc.cluster.local:8080" . $.root.Release.Namespace) }}
{{- end }}
- {name: SOUK_SERVICES, value: {{ $addresses | toJson | toJson }}}
{{- else -}}
- {name: SOUK_DISCOVERY, value: kubernetes}
{{- end }}
{{- end }}

{{- define "souk.volumes" -}}
- {name: tmp, emptyDir: {}}
{{- if not .isKeyless }}
- {name: keys, secret: {secretName: {{ .service }}-keys}}
{{- end }}
{{- end }}

{{- define "souk.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if not .isKeyless }}
- {name: keys, mountPath: /run/souk/keys, readOnly: true}
{{- end }}
{{- end }}

{{/* Changes when what the pod reads at its start changes. secrets: their names; not of keys that programs reread. */}}
{{- define "souk.checksum" -}}
{{- $read := list }}
{{- range .secrets }}
{{- $read = append $read ((lookup "v1" "Secret" $.root.Release.Namespace .).data | default dict) }}
{{- end }}
{{- toJson $read | sha256sum }}
{{- end }}

{{/* Where something else changes it, what runs: when the field goes, Kubernetes starts anew from 1. Without a cluster there is none. */}}
{{- define "souk.replicas" -}}
{{- if not .isScaled -}}
replicas: {{ .scale.replicas }}
{{- else -}}
{{- with lookup "apps/v1" "Deployment" .root.Release.Namespace .program -}}
replicas: {{ .spec.replicas }}
{{- end }}
{{- end }}
{{- end }}

{{- define "souk.spread" -}}
{{- range .root.Values.spread }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: {matchLabels: {{ include "souk.selector" $ | fromYaml | toJson }}}
  # Those of a release among themselves: the old ones leave.
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}

{{- define "souk.autoscaler" -}}
{{- with .scale.autoscaling }}
{{- if .enabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ $.program }}
  labels: {{- include "souk.labels" $ | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $.program }}}
  minReplicas: {{ $.scale.replicas }}
  maxReplicas: {{ .maxReplicas }}
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ .cpuPercent }}}}
  behavior: {scaleDown: {stabilizationWindowSeconds: 300}}
{{- end }}
{{- end }}
{{- end }}

{{- define "souk.disruption" -}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .program }}
  labels: {{- include "souk.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {{ include "souk.selector" . | fromYaml | toJson }}}
  unhealthyPodEvictionPolicy: AlwaysAllow
{{- end }}

{{- define "souk.account" -}}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .program }}
  labels: {{- include "souk.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- end }}

{{/* Whether the program asks the API server for upstreams. */}}
{{- define "souk.watches" -}}
{{- if and (eq .root.Values.discovery "kubernetes") .calls }}true{{ end }}
{{- end }}

{{/* Whether its migrations run before a revision's other objects: not on a server that is one of them. */}}
{{- define "souk.migratesBefore" -}}
{{- if not (hasKey .root.Values.servers (ternary "postgres" "mongo" (has "postgres" .programs.web.servers))) }}true{{ end }}
{{- end }}

{{/* What the schema of the values cannot say. */}}
{{- define "souk.validate" -}}
{{- range $program, $_ := .root.Values.settings }}
{{- if not (or (hasKey $.services $program) (has $program (list "all" "console" "gateway" "sidecar"))) }}
{{- fail (printf "settings.%s: there is no such program; there are all, console, gateway, sidecar, %s" $program (keys $.services | sortAlpha | join ", ")) }}
{{- end }}
{{- end }}
{{- with .root.Values }}
{{- if and .operators.canary.strategy (not .operators.enabled) }}
{{- fail "operators.canary: needs operators.enabled, or nobody would bring services a new image" }}
{{- end }}
{{- if and (not .operators.canary.strategy) ($.root.Capabilities.APIVersions.Has "souk.dev/v1alpha1/Canary") }}
{{- range (lookup "souk.dev/v1alpha1" "Canary" $.root.Release.Namespace "").items }}
{{- if not (has (dig "status" "stage" "Promoted" .) (list "Promoted" "RolledBack")) }}
{{- fail (printf "operators.canary: the Canary of %s has not ended; wait, or give it its old image and version" .metadata.name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if lt (int .graceSeconds) (add .drainSeconds 20 | int) }}
{{- fail "graceSeconds: must be at least drainSeconds + 20, which programs may take to finish what they have begun" }}
{{- end }}
{{- if and (ne .mesh "none") (ne .discovery "services") }}
{{- fail "mesh: needs discovery: services, as a mesh knows Services and not the addresses of pods" }}
{{- end }}
{{- if and (ne .mesh "none") (or .operators.keyring.enabled .operators.canary.strategy) }}
{{- fail "mesh: operators.keyring and operators.canary ask each pod by its address, which a mesh refuses" }}
{{- end }}
{{- if and .ingress.enabled (not .ingress.networks) }}
{{- fail "ingress.networks: is required, or all customers would share the controller's address in limits and logs" }}
{{- end }}
{{- end }}
{{- end }}
