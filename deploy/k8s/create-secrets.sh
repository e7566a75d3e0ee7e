#!/usr/bin/env bash
# Makes the Secrets that the manifests name, with random values; what is there already stays as it is, so that it can be
# run again. Needs kubectl, base64 and sha256sum.
set -euo pipefail

usage='Usage: create-secrets.sh --namespace NAMESPACE --database HOST [options]

  --namespace NAMESPACE       where to make them; the namespace is made as well
  --database HOST             postgres (component postgres-trial), postgres-rw (postgres-cnpg) or one of yours
  --pooler                    tracking and artifacts go by postgres-pooler, their migrations by HOST
  --s3-access-key-file FILE   the keys of an S3 of yours; without them some are made, for minio and seaweedfs
  --s3-secret-key-file FILE
  --print                     print the manifests, change nothing, ask no cluster'

fail() {
  echo "create-secrets.sh: $1" >&2
  exit 2
}

namespace='' database='' pooler='' access_key_file='' secret_key_file='' print=''
while [ $# -gt 0 ]; do
  case $1 in
    --namespace) namespace=${2-} && shift ;;
    --database) database=${2-} && shift ;;
    --pooler) pooler=yes ;;
    --s3-access-key-file) access_key_file=${2-} && shift ;;
    --s3-secret-key-file) secret_key_file=${2-} && shift ;;
    --print) print=yes ;;
    --help) echo "$usage" && exit ;;
    *) fail "there is no option $1"$'\n'"$usage" ;;
  esac
  shift || fail 'an option lacks its value'
done
[ -n "$namespace" ] && [ -n "$database" ] || fail "--namespace and --database are needed"$'\n'"$usage"

umask 077
values=$(mktemp -d)
trap 'rm -rf "$values"' EXIT

# As URLs, headers and files take it without quoting. 32 bytes, as Fernet's keys have, which want the padding.
random() {
  head -c 32 /dev/urandom | base64 -w 0 | tr '+/' '-_'
}

# Puts a value into the file SECRET/KEY: the one that the cluster has, else the one that is given, else a random one.
value() {
  local file="$values/$1/$2"
  mkdir -p "$values/$1"
  [ -n "$print" ] || kubectl get secret "$1" --namespace "$namespace" --ignore-not-found \
    --output "go-template={{with index .data \"$2\"}}{{.}}{{end}}" | base64 --decode >"$file"
  [ -s "$file" ] || printf %s "${3-$(random | tr -d =)}" >"$file"
}

url() {
  printf 'postgresql://%s:%s@%s:5432/modelstead' "$1" "$(cat "$values/postgres-$1/password")" "$2"
}

# Puts a database URL into SECRET/KEY, for a role and a host. One that is there stays, so it has to lead there already.
database_url() {
  local other
  value "$1" "$2" "$(url "$3" "$4")"
  other=$(sed 's|.*@||; s|[:/?].*||' "$values/$1/$2" | sort -u | grep -vxF "$4") || return 0
  fail "$1 leads to the database at $other by its $2, not to $4. Nothing is changed: call this with --database and \
--pooler as they were, or change the host in that Secret first (kubectl edit secret $1 --namespace $namespace)"
}

token_line() {
  printf '%s:admins:%s\n' "$1" "$(sha256sum <"$2" | cut -d ' ' -f 1)"
}

value postgres-superuser username postgres
value postgres-superuser password
for service in tracking artifacts registry; do
  value "postgres-$service" username "$service"
  value "postgres-$service" password
  value "$service-secrets" page-token-key
  host=$database
  if [ -n "$pooler" ] && [ $service != registry ]; then
    host=postgres-pooler
    database_url "$service-secrets" migrate-database-url $service "$database"
  fi
  database_url "$service-secrets" database-url $service "$host"
done
value registry-secrets webhook-secret-keys "$(random)"
value gateway-secrets session-keys "$(random)"

if [ -n "$access_key_file" ]; then
  value object-store access-key "$(cat "$access_key_file")"
  value object-store secret-key "$(cat "$secret_key_file")"
else
  value object-store access-key modelstead
  value object-store secret-key
fi
access_key=$(cat "$values/object-store/access-key") secret_key=$(cat "$values/object-store/secret-key")
value object-store s3.json "$(printf '{"identities": [{"name": "modelstead", "actions": ["Admin"],
  "credentials": [{"accessKey": "%s", "secretKey": "%s"}]}]}' "$access_key" "$secret_key")"
value artifacts-secrets s3-access-key "$access_key"
value artifacts-secrets s3-secret-key "$secret_key"
value postgres-backups access-key "$access_key"
value postgres-backups secret-key "$secret_key"

value modelstead-admin api-key
value gc-secrets api-key
value modelstead-tokens tokens "$(
  token_line admin "$values/modelstead-admin/api-key"
  token_line gc "$values/gc-secrets/api-key"
)"

{
  echo "namespace: $namespace"
  echo 'generatorOptions: {disableNameSuffixHash: true}'
  echo 'secretGenerator:'
  for folder in "$values"/*/; do
    name=$(basename "$folder") type=Opaque labels=''
    if [ -f "$folder/username" ]; then
      # With the label CloudNativePG sees at once that a password was rotated.
      type=kubernetes.io/basic-auth labels='cnpg.io/reload: "true"'
    fi
    echo "  - {name: $name, type: $type, options: {labels: {$labels}}, files: [$(cd "$values" && printf '%s, ' "$name"/*)]}"
  done
} >"$values/kustomization.yaml"

if [ -n "$print" ]; then
  kubectl kustomize "$values"
else
  # Not applied: that would take away the labels which an overlay gives it.
  kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace"
  kubectl apply --kustomize "$values"
  echo "The API key of admin: kubectl get secret modelstead-admin -n $namespace -o go-template='{{index .data \"api-key\" | base64decode}}'"
fi
