#!/bin/sh
# Writes the secrets of docker-compose.gpu.yml: a fresh database password, and the settings that hold it.
# Usage: deploy/make_secrets.sh [FOLDER]     (default: var/secrets; files that exist are left as they are)
set -eu
folder="${1:-var/secrets}"
umask 077
mkdir -p "$folder"
if [ -e "$folder/postgres_password" ] || [ -e "$folder/landline.yaml" ]; then
    echo "$folder holds secrets already; expected an empty folder (the database keeps the password it was made with)" >&2
    exit 1
fi
password="$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')"
printf '%s' "$password" > "$folder/postgres_password"
cat > "$folder/landline.yaml" <<YAML
records:
  database_url: postgresql+pg8000://landline:$password@database:5432/landline
YAML
# The containers read the files under users of their own (10001 Landline, 999 PostgreSQL). Only root can hand the files
# over; otherwise they are readable by all, inside a folder that only its owner can enter.
if [ "$(id -u)" -eq 0 ]; then
    chown 999 "$folder/postgres_password"
    chown 10001 "$folder/landline.yaml"
else
    chmod 0644 "$folder/postgres_password" "$folder/landline.yaml"
fi
echo "wrote $folder/postgres_password and $folder/landline.yaml"
