#!/usr/bin/env bash
# Starts a worker in a container or on a bare machine. Its settings come from the environment (GPULEASE_*, BUFFER_*,
# INTERNAL_API_KEY …); further arguments go to `gpulease worker`.
set -euo pipefail

exec gpulease worker "$@"
