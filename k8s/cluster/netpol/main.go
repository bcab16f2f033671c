// Enforces NetworkPolicies on one node: kube-router's policy controller, without its router and proxy.
//
//	netpol KUBECONFIG NODE
package main

import (
	"os"
	"sync"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	config := options.NewKubeRouterConfig()
	config.EnableIPv4, config.HostnameOverride = true, os.Args[2]
	client := kubernetes.NewForConfigOrDie(must(clientcmd.BuildConfigFromFlags("", os.Args[1])))
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	namespaces := factory.Core().V1().Namespaces().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()
	tables, sets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		panic(err)
	}
	controller := must(netpol.NewNetworkPolicyController(client, config, pods, policies, namespaces, &sync.Mutex{}, tables, sets))
	must(pods.AddEventHandler(controller.PodEventHandler))
	must(namespaces.AddEventHandler(controller.NamespaceEventHandler))
	must(policies.AddEventHandler(controller.NetworkPolicyEventHandler))

	forever := make(chan struct{})
	factory.Start(forever)
	factory.WaitForCacheSync(forever)
	heartbeats := make(chan *healthcheck.ControllerHeartbeat)
	go drain(heartbeats)
	var running sync.WaitGroup
	running.Add(1)
	controller.Run(heartbeats, forever, &running)
}

// drain reads the heartbeats that only kube-router's health check would use.
func drain(heartbeats <-chan *healthcheck.ControllerHeartbeat) {
	for range heartbeats {
	}
}

func must[Value any](value Value, err error) Value {
	if err != nil {
		panic(err)
	}
	return value
}

