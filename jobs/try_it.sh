#!/usr/bin/env bash
# `make train`: a local Ray head of its own, the main job on the built-in scenes, then stop what was started.
set -euo pipefail
cd "$(dirname "$0")/.."

# Its own ports, token and folder: a cluster that already runs on this machine is neither used nor stopped.
PORTS=($(python -c 'from refusion.runtime.ports import free_ports; print(*free_ports(4))'))
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED=0
# A terminal that lacks a letter shows a question mark.
export PYTHONIOENCODING="${PYTHONIOENCODING:-}"
PYTHONIOENCODING="${PYTHONIOENCODING%%:*}:replace"
unset RAY_ADDRESS
PLACE=$(mktemp -d /tmp/refusion.XXXXXX)
LOG=$PLACE/head.log
# The head and all that it starts form one session, so that exactly this is stopped at the end.
setsid ray start --head --block --temp-dir="$PLACE" --node-ip-address=127.0.0.1 --port="${PORTS[0]}" --dashboard-host=127.0.0.1 \
  --dashboard-port="${PORTS[1]}" --ray-client-server-port="${PORTS[2]}" --dashboard-agent-listen-port="${PORTS[3]}" >"$LOG" 2>&1 &
HEAD=$!
stop() {
  echo "stopping the local Ray …"
  kill -TERM -- "-$HEAD" 2>/dev/null || true
  for _ in $(seq 20); do kill -0 -- "-$HEAD" 2>/dev/null || break; sleep 0.5; done
  # Ray takes half a minute to leave of its own accord; its workers follow it at once.
  kill -KILL -- "-$HEAD" 2>/dev/null || true
  wait "$HEAD" 2>/dev/null || true
  rm -rf "$PLACE"
}
trap stop EXIT

export RAY_ADDRESS="http://127.0.0.1:${PORTS[1]}"
for _ in $(seq 120); do
  ray job list >/dev/null 2>&1 && break
  kill -0 "$HEAD" 2>/dev/null || { echo "Ray could not be started:" >&2; cat "$LOG" >&2; exit 1; }
  sleep 1
done
ray job submit -- python jobs/train_all_tasks.py --preset quick "$@"
