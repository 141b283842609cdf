#!/bin/sh
# Run once by PostgreSQL's image, on an empty volume: a user and a database of MLflow's own beside the platform's.
set -eu
psql --set ON_ERROR_STOP=1 --set password="$MLFLOW_DATABASE_PASSWORD" \
    --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE USER mlflow PASSWORD :'password';
CREATE DATABASE mlflow OWNER mlflow;
SQL
