// Writes what a NATS server with an operator needs, and what its users do, into a folder:
//
//	operator.conf  the operator and an account, as lines of the server's configuration
//	user.creds     a user of that account
//	stranger.creds a user of an account that the server does not know
//	user.nk        a user without an account, for a server that knows public keys
//	user.pub       its public key
//	stranger.nk    another one
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, "nats-creds:", err)
		os.Exit(1)
	}
	return value
}

func write(name string, data []byte) {
	if err := os.WriteFile(filepath.Join(os.Args[1], name), data, 0o600); err != nil {
		must(0, err)
	}
}

// creds makes a user of an account, and the file that the user connects with.
func creds(name string, account nkeys.KeyPair) {
	user := must(nkeys.CreateUser())
	claims := jwt.NewUserClaims(must(user.PublicKey()))
	claims.Name = name
	token := must(claims.Encode(account))
	write(name+".creds", must(jwt.FormatUserConfig(token, must(user.Seed()))))
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: nats-creds FOLDER")
		os.Exit(2)
	}
	operator, account := must(nkeys.CreateOperator()), must(nkeys.CreateAccount())
	operatorClaims := jwt.NewOperatorClaims(must(operator.PublicKey()))
	operatorClaims.Name = "O"
	accountClaims := jwt.NewAccountClaims(must(account.PublicKey()))
	accountClaims.Name = "A"
	write("operator.conf", fmt.Appendf(nil,
		"operator: %s\nresolver: MEMORY\nresolver_preload: { %s: %s }\n",
		must(operatorClaims.Encode(operator)),
		must(account.PublicKey()), must(accountClaims.Encode(operator))))
	creds("user", account)
	creds("stranger", must(nkeys.CreateAccount()))

	user := must(nkeys.CreateUser())
	write("user.nk", append(must(user.Seed()), '\n'))
	write("user.pub", []byte(must(user.PublicKey())))
	write("stranger.nk", append(must(must(nkeys.CreateUser()).Seed()), '\n'))
}
