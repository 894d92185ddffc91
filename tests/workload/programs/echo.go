// The echo service of the examples, as a Go program.
package main

import (
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

func main() {
	nc, err := nats.Connect(os.Getenv("NATS_URL"))
	if err != nil {
		panic(err)
	}
	_, err = micro.AddService(nc, micro.Config{
		Name:    "EchoService",
		Version: "1.0.0",
		Endpoint: &micro.EndpointConfig{
			Subject: "svc.echo",
			Handler: micro.HandlerFunc(func(req micro.Request) { req.Respond(req.Data()) }),
		},
	})
	if err != nil {
		panic(err)
	}
	select {}
}
