#!/usr/bin/env bash
# Certificates for RAY_USE_TLS=1, of a CA that is the cluster's own.
#
#   cluster/tls.sh ca FOLDER      once, where `ray up` is run: FOLDER/ca.crt and ca.key
#   cluster/tls.sh node FOLDER    on each node: node.crt and node.key, for the addresses that it has then
set -euo pipefail
umask 077

usage() { echo "usage: tls.sh ca|node FOLDER" >&2; exit 2; }
[[ $# -eq 2 ]] || usage
days=365
key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)

case $1 in
  ca)
    [[ ! -e $2/ca.key ]] || { echo "$2/ca.key: is there already; a new one would shut out the nodes that run" >&2; exit 2; }
    mkdir -p "$2"
    openssl req -x509 "${key[@]}" -days "$days" -keyout "$2/ca.key" -out "$2/ca.crt" -config /dev/stdin 2>/dev/null <<-END
		[req]
		distinguished_name = name
		x509_extensions = ca
		prompt = no
		[name]
		CN = refusion-cluster
		[ca]
		basicConstraints = critical, CA:TRUE, pathlen:0
		keyUsage = critical, keyCertSign
		subjectKeyIdentifier = hash
		END
    ;;
  node)
    [[ -r $2/ca.key ]] || { echo "$2/ca.key: is not there; make it by \`tls.sh ca\` before \`ray up\`" >&2; exit 2; }
    names="DNS:localhost,DNS:$(hostname),IP:127.0.0.1"
    for address in $(hostname -I); do names+=",IP:$address"; done
    openssl req "${key[@]}" -subj "/CN=$(hostname)" -keyout "$2/node.key" -out "$2/node.csr" 2>/dev/null
    # A node is both: it serves others, and calls them.
    openssl x509 -req -in "$2/node.csr" -CA "$2/ca.crt" -CAkey "$2/ca.key" -set_serial "0x$(openssl rand -hex 16)" \
      -days "$days" -out "$2/node.crt" -extfile /dev/stdin 2>/dev/null <<-END
		basicConstraints = critical, CA:FALSE
		keyUsage = critical, digitalSignature
		extendedKeyUsage = serverAuth, clientAuth
		subjectAltName = $names
		END
    rm "$2/node.csr"
    ;;
  *) usage ;;
esac
