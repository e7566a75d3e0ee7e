#!/bin/bash
# Run once by the image, when the data folder is made: a role for each service, which owns the schema of its name.
set -euo pipefail

for service in tracking artifacts registry; do
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set service="$service" --set password="$(cat "${SECRETS:-/run/secrets/modelstead}/$service/password")" <<'SQL'
CREATE ROLE :"service" LOGIN PASSWORD :'password';
GRANT CONNECT ON DATABASE :"DBNAME" TO :"service";
CREATE SCHEMA :"service" AUTHORIZATION :"service";
SQL
done

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
SQL
