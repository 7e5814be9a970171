#!/usr/bin/env bash
# Starts MLflow's server on a cluster's head, for this machine alone (127.0.0.1:5000), and copies its database to the
# bucket every 15 minutes and when the machine is shut down. On a new disk it begins with the copy in the bucket.
#
#   mlflow_on_head.sh s3://BUCKET/refusion
set -euo pipefail

storage=${1:?usage: mlflow_on_head.sh STORAGE}
case $storage in
  *BUCKET*) echo "$storage: write the name of your bucket for BUCKET in cluster.yaml" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
bin=~/venv/bin
database=~/mlflow/mlflow.db
store=("$bin/python" "$here/mlflow_store.py")

# A server that came up empty would have its empty database copied over the good one: no storage, no server.
"${store[@]}" restore "$database" "$storage"
mkdir -p ~/mlflow

unit() { # name, then further options of systemd-run and the command
  local name=$1
  shift
  # What runs goes on; else it is started anew. `After` keeps the network until the last copy is made.
  if ! systemctl is-active --quiet "$name.service" "$name.timer"; then
    sudo systemctl stop "$name.service" "$name.timer" 2>/dev/null || true
    sudo systemctl reset-failed "$name.service" 2>/dev/null || true
    sudo systemd-run --quiet --unit="$name" --uid="$(id -un)" --property=After=network-online.target "$@"
  fi
}

unit refusion-mlflow --property=Restart=always --property=RestartSec=5 \
  --property="ExecStopPost=${store[*]} backup $database $storage" \
  "$bin/mlflow" server --host 127.0.0.1 --port 5000 --workers 2 \
  --backend-store-uri "sqlite:///$database" --artifacts-destination "$storage/mlflow-artifacts"
unit refusion-mlflow-backup --on-calendar='*:0/15' "${store[@]}" backup "$database" "$storage"
