#!/usr/bin/env bash
# `make train`: a local Ray head of its own, the main job on the built-in scenes, then stop what was started.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "Starting Ray on this machine, half a minute. Ctrl-C ends the training cleanly and says how to go on."
# Its own ports, token and folder: a cluster that already runs on this machine is neither used nor stopped.
PORTS=($(python -c 'from refusion.runtime.ports import free_ports; print(*free_ports(4))'))
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED=0
# The job's last lines must not name a cluster that is gone by then; its lines and tables are this wide at most.
export REFUSION_CLUSTER_ENDS=1 COLUMNS=100
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
SHOWN=
stop() {
  # Nothing may keep it from stopping what it started, not even a reader that has gone, as behind `| head`.
  trap '' INT TERM HUP PIPE
  if [ -n "$SHOWN" ]; then sleep 0.5; kill "$SHOWN" 2>/dev/null || true; fi
  echo "Stopping the local Ray …" 2>/dev/null || true
  kill -TERM -- "-$HEAD" 2>/dev/null || true
  for _ in $(seq 20); do kill -0 -- "-$HEAD" 2>/dev/null || break; sleep 0.5; done
  # Ray takes half a minute to leave of its own accord; its workers follow it at once.
  kill -KILL -- "-$HEAD" 2>/dev/null || true
  wait "$HEAD" 2>/dev/null || true
  rm -rf "$PLACE"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

not_started() {
  if grep -q "timed out during startup" "$LOG"; then
    echo "Ray did not start within the half minute that it allows itself, since this machine is too busy or has too" >&2
    echo "little memory; nothing has been trained: call \`make train\` again when less runs here." >&2
  else
    echo "Ray could not be started:" >&2
    cat "$LOG" >&2
  fi
  exit 1
}

export RAY_ADDRESS="http://127.0.0.1:${PORTS[1]}"
# By HTTP, since each `ray job list` would take two seconds of work.
ASK='import os, sys; from refusion.runtime.ports import takes_jobs; e = os.environ
sys.exit(not takes_jobs(e["RAY_ADDRESS"], e["RAY_AUTH_TOKEN"]))'
for _ in $(seq 120); do
  python -c "$ASK" 2>/dev/null && break
  kill -0 "$HEAD" 2>/dev/null || not_started
  sleep 1
done

# What Ray says of a submitted job are commands for a cluster that stays. The job leaves its process id, for Ctrl-C, and
# its exit status, of which Ray only keeps whether it is 0.
JOB='(echo "$BASHPID" >"$0/pid"; exec python "$@") >"$0/job.log" 2>&1; echo "$?" >"$0/status"'
: >"$PLACE/job.log"
ray job submit --no-wait -- bash -c "$JOB" "$PLACE" jobs/train_all_tasks.py --preset quick "$@" >"$PLACE/submit.log" 2>&1 ||
  { cat "$PLACE/submit.log" >&2; exit 1; }
tail -n +1 -f "$PLACE/job.log" &
SHOWN=$!
INTERRUPTED=
interrupt() {
  INTERRUPTED=yes
  # A second one does not wait for the first.
  trap 'exit 130' INT TERM
  # Not INT, which Ray's processes leave ignored.
  kill -TERM "$(cat "$PLACE/pid" 2>/dev/null)" 2>/dev/null || exit 130
}
trap interrupt INT TERM
until [ -s "$PLACE/status" ]; do
  kill -0 "$HEAD" 2>/dev/null || { echo "Ray has ended before the job:" >&2; tail -n 20 "$LOG" >&2; exit 1; }
  sleep 0.5 || true
done
STATUS=$(cat "$PLACE/status")
if [ -n "$INTERRUPTED" ] && [ "$STATUS" != 0 ]; then STATUS=130; fi
exit "$STATUS"
