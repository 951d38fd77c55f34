#!/usr/bin/env bash
# Starts a worker in a container or on a bare machine: the agent and its HTTP, and in a Salad container that has no
# orchestrator also Salad's queue worker, which hands it the jobs. Settings come from the environment (GPULEASE_*,
# BUFFER_*, INTERNAL_API_KEY …); further arguments go to `gpulease worker`. It ends with the first of them that
# exits, with its exit code, and passes signals on.
set -euo pipefail

orchestrator="${GPULEASE_ORCHESTRATOR_URL:-${BUFFER_ORCHESTRATOR_BASE_URL:-${ORCHESTRATOR_BASE_URL:-}}}"
queue_worker="${SALAD_QUEUE_WORKER:-salad-http-job-queue-worker}"

if [[ -n "$orchestrator" || -z "${SALAD_MACHINE_ID:-}${SALAD_METADATA_URI:-}" ]]; then
  exec gpulease worker "$@"
fi
if ! command -v "$queue_worker" >/dev/null; then
  echo "run_worker.sh: no orchestrator is set, and $queue_worker is not in this image: nobody could send jobs." >&2
  echo "Set GPULEASE_ORCHESTRATOR_URL, or build with SALAD_QUEUE_WORKER_URL and SALAD_QUEUE_WORKER_SHA256." >&2
  exit 2
fi

gpulease worker "$@" &
worker=$!
"$queue_worker" &
queue=$!

pass_on() {
  kill -s "$1" "$worker" "$queue" 2>/dev/null || true
}
trap 'pass_on TERM' TERM INT
trap 'kill -s USR1 "$worker" 2>/dev/null || true' USR1

# A signal interrupts `wait`, so it is asked again until one of them is really gone.
code=0
while true; do
  code=0
  wait -n -p gone "$worker" "$queue" || code=$?
  if [[ -n "${gone:-}" ]]; then break; fi
done
pass_on TERM
wait || true
exit "$code"
