// Command coredns is CoreDNS with the plugins that the DNS of a small cluster uses and no other: the full one takes
// four times as long to build.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/rewrite"
)

func main() {
	// The order in which they see a question.
	dnsserver.Directives = []string{"reload", "errors", "health", "ready", "rewrite", "kubernetes"}
	coremain.Run()
}
