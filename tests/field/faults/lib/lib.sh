# . lib.sh — sets W (scratch), C (concierge), PY (its python), CONCIERGE_HOME; cleans up only what it started
LIB=$(CDPATH='' cd -- "$(dirname -- "$0")/lib" && pwd); C=$(CDPATH='' cd -- "$(dirname -- "${1:?path of concierge}")" && pwd)/$(basename -- "$1"); PY=$(dirname "$C")/python
W=$(mktemp -d); export HOME=$W/home CONCIERGE_HOME=$W/ch OLLAMA_HOST=127.0.0.1:9; unset XDG_RUNTIME_DIR XDG_DATA_HOME XDG_CONFIG_HOME CONCIERGE_DEBUG; mkdir -p $HOME $W/p $CONCIERGE_HOME; cd $W/p; SRV=
engines() { for p in /proc/[0-9]*; do case $(tr '\0' ' ' 2>/dev/null <$p/cmdline) in *xllamacpp_server.py\ --engine-root\ $W/*) echo ${p#/proc/};; esac; done 2>/dev/null; }
leave() { for p in $(engines) $SRV; do kill -9 $p 2>/dev/null; done; for m in $MOUNTS; do umount $m; done; chmod -R u+w $W; [ "$KEEP" ] || rm -rf $W; }
MOUNTS=; trap leave EXIT
ca() { openssl req -x509 -newkey rsa:2048 -nodes -keyout $W/p/k -out $W/p/ca.pem -days 2 -subj /CN=localhost -addext 'subjectAltName=IP:127.0.0.1' 2>/dev/null; cat $W/p/ca.pem $W/p/k >$W/p/srv.pem; export SSL_CERT_FILE=$W/p/ca.pem; }
export CONCIERGE_TRUST=true
lock() { $PY $LIB/mklock.py $W/p "${1:-[]}" ${2:-} || exit 99; }
server() { ca; lock; python3 $LIB/server.py $W/p $1 & SRV=$!; until [ -s $W/p/port ]; do sleep .1; done; lock "[{\"kind\":\"https\",\"url\":\"https://127.0.0.1:$(cat $W/p/port)/model.gguf\"}]"; }
verdict() { if [ "$1" = 0 ]; then echo "PASS $(basename $0): $2"; else echo "FAIL $(basename $0): $2"; exit 1; fi; }
