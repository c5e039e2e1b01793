#!/usr/bin/env bash
# Runs the Go peers against each other, so that what the tests expect of them
# is known to be what they do; see README.md.
#
#   tests/peers/smoke.sh BIN_DIR      (the folder that .ci/peers.sh filled)
#
# Everything runs in a network namespace that has a loopback interface only.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
  if [ $# -ne 1 ]; then
    echo "usage: $0 BIN_DIR" >&2
    exit 2
  fi
  exec unshare -rn bash "$0" --inside "$(cd "$1" && pwd)"
fi
bin=$2
ip link set lo up
ip link set lo multicast on
ip route add 224.0.0.0/4 dev lo

work=$(mktemp -d)
pids=()
finish() {
  [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap finish EXIT

passed=0
failed=0
lines=""
pair=""

# await FILE LINE: waits for a line that a peer prints.
await() {
  local i
  for ((i = 0; i < 500; i++)); do
    if grep -q "$2" "$work/$1" 2>/dev/null; then return; fi
    sleep 0.02
  done
  echo "smoke: $1 did not print $2" >&2
  cat "$work/$1.err" >&2
  exit 1
}

# start FILE PROGRAM ARG…: starts a peer whose lines go to FILE.
start() {
  local file=$1 program=$2
  shift 2
  "$bin/$program" "$@" >"$work/$file" 2>"$work/$file.err" &
  pids+=($!)
}

# call PROGRAM ARG…: runs cases; `expect` then looks at their lines.
call() {
  local program=$1
  shift
  lines=$("$bin/$program" client "$@" 2>"$work/client.err")
}

# expect CASE TEXT…: the case's line holds each text.
expect() {
  local case=$1 line text
  shift
  line=$(grep -F -m1 "$case {" <<<"$lines" || true)
  for text in "$@"; do
    if [[ "$line" != *"$text"* ]]; then
      failed=$((failed + 1))
      printf 'FAILED %s %s\n  expected %s\n  found    %s\n' "$pair" "$case" "$text" "$line"
      return
    fi
  done
  passed=$((passed + 1))
}

# micro CASE ID CODE DETAIL: the case ended in that micro error.
micro() {
  expect "$1" "\"code\":$3," "\"detail\":\"$4\"" "\"id\":\"$2\"" '"kind":"micro"' '"ok":false'
}

# raw CASE GRPC_CODE MESSAGE: the case ended in that gRPC status.
raw() {
  expect "$1" "\"grpc_code\":$2," "\"message\":\"$3" '"kind":"grpc"' '"ok":false'
}

hello='"msgs":["Hello m0","Hello m1","Hello m2","Hello m3","Hello m4"]'
asked='as asked \u003c\u0026\u003e 100%'
gone='"handler":{"cancelled":true,'

start server2 gomicro2 server --name smoke.v2 --metadata a=b
start server5 gomicro5 server --name smoke.v5 --version 1.2.3
start big5 gomicro5 server --name smoke.big --max-msg 8000000
start plain grpcgo server
for file in server2 server5 big5 plain; do await "$file" READY; done
address() { cut -d' ' -f2 "$work/$1"; }

types=(application/grpc application/grpc+proto application/proto application/protobuf
  application/octet-stream application/json application/grpc+json)
cases=unary,unary:application/grpc+bytes,unary:text/plain,count,chat,collect,parallel,list,get,get:nobody
for type in "${types[@]}"; do cases+=",unary:$type"; done
for code in 0 400 401 403 404 408 409 412 418 500 501 503 599; do cases+=",fail:$code"; done
cases+=,failing_count:404,failing_count:418,failing_count:0,cancel_stream,cancel_chat,cancel_call
cases+=,deadline,stream_deadline,large_reply,large_request,unknown_service,unknown_handler
cases+=,unknown_method,panic,headers

# micro_pair CLIENT SERVER: all cases between two go-micro versions.
micro_pair() {
  local c=$1 s=$2 code type no=500 unsupported='unsupported Content-Type: text/plain'
  pair="gomicro$c -> gomicro$s"
  [ "$c" = 5 ] && no=501
  [ "$c" = 2 ] && unsupported='Unsupported Content-Type: text/plain'
  call "gomicro$c" --name "smoke.v$s" --retries 0 --meta X-Smoke=yes "$cases"

  expect unary '"ok":true' '"big_total":18446744073709551615' '"msg":"Hello bob"'
  for type in "${types[@]}"; do expect "unary:$type" '"ok":true' '"msg":"Hello bob"'; done
  micro unary:text/plain go.micro.client 500 "$unsupported"
  expect unary:application/grpc+bytes '"code":500' 'grpc: error while marshaling: failed to marshal'
  for code in 400 401 403 404 408 409 412 418 500 501 503 599; do
    micro "fail:$code" peer.fail "$code" "$asked"
  done
  if [ "$c" = 2 ]; then
    micro fail:0 go.micro.client 500 "$asked!(NOVERB)"
  else
    micro fail:0 go.micro.client 500 "$asked"
  fi
  expect count '"counts":[0,1,2,3,4],"end":"eof","ok":true'
  raw failing_count:404 5 '{\"id\":\"peer.fail\",\"code\":404'
  raw failing_count:418 2 '{\"id\":\"peer.fail\",\"code\":418'
  raw failing_count:0 2 "$asked"
  expect failing_count:404 '"counts":[0,1,2]' '"code":404,' '"details":["type.googleapis.com/errors.Error"]'
  expect chat "$hello" '"ok":true'
  if [ "$c" = 2 ]; then
    expect collect '"kind":"unsupported"'
    expect cancel_chat '"ok":true' '"state":'
  else
    expect collect '"msg":"m0,m1,m2"' '"ok":true'
    expect cancel_chat '"ok":true' "$gone"
  fi
  expect cancel_stream '"ok":true' "$gone"
  # The caller's own end and the status of the call race; v2 has no 408 for the
  # latter, and neither version has one for a cancelled call.
  expect cancel_call '"detail":"context canceled"' '"kind":"micro"' '"ok":false'
  expect cancel_call '"before":{"cancelled":false,"reason":null,"state":"running"}' "$gone"
  if [ "$c" = 2 ]; then
    expect deadline '"detail":"context deadline exceeded"' '"kind":"micro"' '"ok":false'
  else
    micro deadline go.micro.client 408 'context deadline exceeded'
  fi
  expect deadline "$gone"
  raw stream_deadline 4 'context deadline exceeded'
  expect stream_deadline "$gone"
  expect large_reply '"code":500,' ' message larger than max (5242885 vs. 4194304)' '"ok":false'
  micro large_request go.micro.client 500 'trying to send message larger than max (5242885 vs. 4194304)'
  micro unknown_service go.micro.client 500 'service nobody.has.this: not found'
  micro unknown_handler go.micro.client "$no" 'unknown service Nope'
  micro unknown_method go.micro.client "$no" 'unknown service Peer.Nope'
  micro panic go.micro.server 500 'panic recovered: as asked'
  expect headers '"ok":true' '":"Baz"' '":"yes"' '"Remote":"127.0.0.1:' 'ontent-'
  expect parallel '"calls":50,"ok":true'
  expect list '"names":["smoke.big","smoke.v2","smoke.v5"]'
  expect get "\"name\":\"smoke.v$s\"" '"protocol":"grpc"' '"stream":"true"' "\"address\":\"$(address "server$s")\""
  expect get:nobody '"ok":true,"services":[]'

  call "gomicro$c" --name "smoke.v$s" --content-type application/json count,chat,failing_count:418,fail:418
  expect count '"counts":[0,1,2,3,4],"end":"eof","ok":true'
  expect chat "$hello" '"ok":true'
  raw failing_count:418 2 '{\"id\":\"peer.fail\",\"code\":418'
  micro fail:418 peer.fail 418 "$asked"
}
for c in 2 5; do for s in 2 5; do micro_pair "$c" "$s"; done; done

for c in 2 5; do
  pair="gomicro$c, limit raised"
  call "gomicro$c" --name smoke.big --max-msg 8000000 large_reply,large_request
  expect large_reply '"ok":true,"payload_len":5242880'
  expect large_request '"ok":true,"payload_len":5242880'
  call "gomicro$c" --name smoke.v5 --max-msg 8000000 large_request
  expect large_request ' message larger than max (5242885 vs. 4194304)'
  pair="gomicro$c, nobody listens"
  call "gomicro$c" --name smoke.v5 --address 127.0.0.1:1 --retries 0 unary,count
  expect unary '"id":"go.micro.client"' 'connect: connection refused'
  expect count '"code":500' 'Error creating stream: rpc error: code = Unavailable'
done

# grpc_cases: the cases whose outcome is the same whoever answers.
grpc_cases() {
  expect unary '"ok":true' '"msg":"Hello bob"'
  expect count '"counts":[0,1,2,3,4],"end":"eof"' '"ok":true'
  expect chat "$hello" '"end":"eof"' '"ok":true'
  expect collect '"count":3,"msg":"m0,m1,m2"' '"ok":true'
  expect cancel_stream '"ok":true' "$gone"
  expect cancel_chat '"ok":true' "$gone"
  raw cancel_call 1 'context canceled'
  expect cancel_call '"state":"running"' "$gone"
  # The message depends on which side's clock ends the call first.
  raw deadline 4 ''
  expect deadline "$gone"
  raw stream_deadline 4 ''
  expect stream_deadline "$gone"
  expect large_reply '"grpc_code":8,' ' message larger than max (5242885 vs. 4194304)'
  expect large_request '"grpc_code":8,' 'received message larger than max (52428'
  expect headers '"ok":true' '":"Baz"' '":"one, two"' '":"0001ff"'
  expect parallel '"calls":50,"ok":true'
}
common=unary,gzip,count,chat,collect,cancel_stream,cancel_chat,cancel_call,deadline,stream_deadline
common+=,large_reply,large_request,headers,parallel,unknown_handler,unknown_method,panic

pair="grpcgo -> grpcgo"
call grpcgo --address "$(address plain)" "$common,fail:3,fail:5,failing_count:5"
grpc_cases
expect gzip '"ok":true'
raw fail:3 3 "$asked ü"
raw fail:5 5 "$asked ü"
expect fail:5 '"json":{"reason":"AS_ASKED"' 'type.googleapis.com/google.rpc.ErrorInfo' '"grpc-status-details-bin":'
raw failing_count:5 5 "$asked ü"
expect failing_count:5 '"counts":[0,1,2]' '"x-peer-trailer":["end"]'
raw unknown_handler 12 'unknown service peer.v1.Nope"'
raw unknown_method 12 'unknown method Nope for service peer.v1.Peer"'
raw panic 13 'panic: as asked"'
expect headers '"x-peer-header":["one","two"]' '"x-peer-data-bin":["AAH/"]' '"x-peer-tail-bin":["/gA="]'

for s in 2 5; do
  pair="grpcgo -> gomicro$s"
  call grpcgo --address "$(address "server$s")" "$common,fail:404,fail:418,fail:0,failing_count:404,path,path:/x.y.Peer/Unary,path:/a/Peer/Unary,path:/Peer.Unary"
  grpc_cases
  raw gzip 12 'grpc: Decompressor is not installed for grpc-encoding \"gzip\"'
  raw fail:404 5 '{\"id\":\"peer.fail\",\"code\":404'
  raw fail:418 2 '{\"id\":\"peer.fail\",\"code\":418'
  expect fail:418 '"type_url":"type.googleapis.com/errors.Error"' '"status":"I'"'"'m a teapot"'
  raw fail:0 2 "$asked ü"
  raw failing_count:404 5 '{\"id\":\"peer.fail\",\"code\":404'
  raw unknown_handler 12 'unknown service Nope"'
  raw unknown_method 12 'unknown service Peer.Nope"'
  raw panic 13 '{\"id\":\"go.micro.server\",\"code\":500,\"detail\":\"panic recovered: as asked\"'
  expect path '"msg":"Hello bob"'
  expect path:/x.y.Peer/Unary '"msg":"Hello bob"'
  raw path:/a/Peer/Unary 3 'malformed method name: \"/a/Peer/Unary\"'
  expect path:/Peer.Unary '"grpc_code":'"$([ $s = 2 ] && echo 8 || echo 12)" 'malformed method name: \"/Peer.Unary\"'
done

# Over TLS, with certificates of both sides, and go-micro's server in both of its ways.
identity=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30)
openssl req -x509 "${identity[@]}" -keyout "$work/ca.key" -out "$work/ca.pem" -subj /CN=smoke \
  -addext keyUsage=critical,keyCertSign 2>/dev/null
openssl req -x509 -CA "$work/ca.pem" -CAkey "$work/ca.key" "${identity[@]}" -keyout "$work/id.key" \
  -out "$work/id.pem" -subj /CN=peer -addext basicConstraints=critical,CA:FALSE \
  -addext subjectAltName=DNS:peer.example,IP:127.0.0.1 2>/dev/null
identity=(--tls_cert "$work/id.pem" --tls_key "$work/id.key")
secured=(--tls_ca "$work/ca.pem" "${identity[@]}")
for s in 2 5; do
  start "tls$s" "gomicro$s" server --name "smoke.tls$s" "${identity[@]}" --tls_client_ca "$work/ca.pem"
  start "listener$s" "gomicro$s" server --name "smoke.listener$s" "${identity[@]}" --tls_by listener
  await "tls$s" READY
  await "listener$s" READY
  for c in 2 5; do
    pair="gomicro$c -> gomicro$s over TLS"
    call "gomicro$c" --name "smoke.tls$s" --retries 0 "${secured[@]}" unary,headers
    expect unary '"ok":true'
    expect headers '"tls":"TLS 1.3, h2, peer.example"'
    call "gomicro$c" --name "smoke.tls$s" --retries 0 unary
    expect unary '"ok":false'
    pair="gomicro$c -> gomicro$s over TLS without ALPN"
    call "gomicro$c" --name "smoke.listener$s" --retries 0 "${secured[@]}" unary
    if [ $c = 2 ]; then
      expect unary '"ok":true'
    else
      expect unary 'missing selected ALPN property'
    fi
  done
done
start grpctls grpcgo server "${identity[@]}" --tls_client_ca "$work/ca.pem"
await grpctls READY
pair="grpcgo -> grpcgo over TLS"
for version in 1.2 1.3; do
  call grpcgo --address "$(address grpctls)" "${secured[@]}" --tls_version "$version" unary,chat,headers
  expect unary '"ok":true'
  expect chat '"end":"eof"'
  expect headers "\"tls\":\"TLS $version, h2, peer.example\""
done
call grpcgo --address "$(address grpctls)" --tls_ca "$work/ca.pem" unary
expect unary 'tls: certificate required'
start mucp gomicro5 server --name smoke.mucp --kind mucp "${identity[@]}"
await mucp READY
pair="gomicro5 -> gomicro5 over its HTTP transport and TLS"
call gomicro5 --name smoke.mucp --kind mucp --retries 0 "${secured[@]}" unary
expect unary '"ok":true'
call gomicro5 --name smoke.mucp --kind mucp --retries 0 unary
expect unary '"ok":false'

# Watchers of both versions see services of both versions come and go.
start watch2 gomicro2 watch --seconds 60
start watch5 gomicro5 watch --name smoke.late5 --seconds 60
await watch2 READY
await watch5 READY
for v in 2 5; do
  start "late$v" "gomicro$v" server --name "smoke.late$v"
  late=${pids[-1]}
  await "late$v" READY
  await watch2 "\"action\":\"create\".*\"name\":\"smoke.late$v\""
  [ $v = 2 ] || await watch5 '"action":"create".*"name":"smoke.late5"'
  kill "$late"
  wait "$late"
  await "late$v" STOPPED
  await watch2 "\"action\":\"delete\".*\"name\":\"smoke.late$v\""
  passed=$((passed + 1))
done
await watch5 '"action":"delete".*"name":"smoke.late5"'
if grep -q smoke.late2 "$work/watch5"; then
  failed=$((failed + 1))
  echo "FAILED watch --name: an event of another service came through"
fi

echo "smoke: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
