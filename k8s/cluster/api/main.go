// An API server and its database, in one binary that goes by either name. They are all that manifests and operators need, and
// built apart from the rest they are ready sooner.
package main

import (
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	if filepath.Base(os.Args[0]) == "etcd" {
		etcdmain.Main(os.Args)
	} else {
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	}
}
