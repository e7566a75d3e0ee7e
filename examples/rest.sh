#!/bin/sh
# Logs a small search over the raw REST API: a run, two runs nested in it, then the best of them.
# Needs sh, curl, and python3 to pick values out of JSON.
#
#   MLFLOW_TRACKING_URI=http://127.0.0.1:8080 sh examples/rest.sh
set -eu

api=${MLFLOW_TRACKING_URI:-http://127.0.0.1:8080}/api/2.0/mlflow

# post PATH JSON: prints the answer. An error's answer, which says what is wrong, goes to stderr and ends the script.
post() {
  answer=$(curl --silent --show-error --fail-with-body --header 'Content-Type: application/json' --data "$2" "$api/$1") ||
    { printf '%s\n' "$answer" >&2; return 1; }
  printf '%s\n' "$answer"
}

# pick KEY...: prints one value of the JSON on stdin; ends the script if it is not there.
pick() {
  python3 -c '
import json, sys
try:
    value = json.load(sys.stdin)
    for key in sys.argv[1:]:
        value = value[int(key) if key.isdecimal() else key]
except (ValueError, LookupError):
    sys.exit("There is no " + " ".join(sys.argv[1:]) + " in the answer.")
print(value)
' "$@"
}

# MLflow counts time in milliseconds.
now() {
  echo "$(date +%s)000"
}

# start_run NAME [TAG]...: prints the id of a new run; each TAG is a JSON object.
start_run() {
  name=$1
  shift
  tags=$(printf '%s,' '{"key": "model", "value": "ridge"}' "$@")
  post runs/create "{
    \"experiment_id\": \"$experiment_id\", \"run_name\": \"$name\", \"start_time\": $(now), \"tags\": [${tags%,}]
  }" | pick run info run_id
}

end_run() {
  post runs/update "{\"run_id\": \"$1\", \"status\": \"FINISHED\", \"end_time\": $(now)}" >/dev/null
}

# log_candidate ALPHA R2: a nested run, which is one with a tag that names its parent. One batch carries all it logs.
log_candidate() {
  run_id=$(start_run "alpha-$1" "{\"key\": \"mlflow.parentRunId\", \"value\": \"$parent_id\"}")
  post runs/log-batch "{
    \"run_id\": \"$run_id\",
    \"params\": [{\"key\": \"alpha\", \"value\": \"$1\"}],
    \"metrics\": [
      {\"key\": \"loss\", \"value\": 0.9, \"step\": 0, \"timestamp\": $(now)},
      {\"key\": \"loss\", \"value\": 0.4, \"step\": 1, \"timestamp\": $(now)},
      {\"key\": \"r2\", \"value\": $2, \"step\": 1, \"timestamp\": $(now)}
    ],
    \"tags\": [{\"key\": \"stage\", \"value\": \"candidate\"}]
  }" >/dev/null
  end_run "$run_id"
}

experiment=${MLFLOW_EXPERIMENT_NAME:-rest-$(date +%s)-$$}
experiment_id=$(post experiments/create "{\"name\": \"$experiment\"}" | pick experiment_id)

parent_id=$(start_run search)
post runs/log-parameter "{\"run_id\": \"$parent_id\", \"key\": \"folds\", \"value\": \"3\"}" >/dev/null
log_candidate 0.1 0.47
log_candidate 1.0 0.52
post runs/log-metric "{\"run_id\": \"$parent_id\", \"key\": \"best_r2\", \"value\": 0.52, \"timestamp\": $(now)}" >/dev/null
end_run "$parent_id"

best=$(post runs/search "{
  \"experiment_ids\": [\"$experiment_id\"],
  \"filter\": \"tags.mlflow.parentRunId = '$parent_id' AND metrics.r2 > 0\",
  \"order_by\": [\"metrics.r2 DESC\"],
  \"max_results\": 1
}")
best_id=$(printf '%s' "$best" | pick runs 0 info run_id)
echo "Best of experiment $experiment: $(printf '%s' "$best" | pick runs 0 info run_name)"
echo "All about it: $api/runs/get?run_id=$best_id"
