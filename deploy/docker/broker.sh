#!/bin/sh
# The broker of the desk demo: broker.sh run|check
#
# At the first start every user of ivories.acl that the demo has gets a password of its own, in $SECRETS/NAME.
set -eu

secrets=${SECRETS:-/secrets}
configuration=${CONFIGURATION:-/etc/mosquitto/mosquitto.conf}
PATH=$PATH:/usr/sbin
umask 077

# A file of users is complete or not there: whoever is interrupted begins afresh.
passwords() {
  [ ! -s "$secrets/users" ] || return 0
  rm -f "$secrets/users.new"
  for user in piano dashboard; do
    password=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
    printf '%s\n' "$password" >"$secrets/$user"
    printf '%s:%s\n' "$user" "$password" >>"$secrets/users.new"
  done
  mosquitto_passwd -U "$secrets/users.new"
  mv "$secrets/users.new" "$secrets/users"
}

case ${1:-} in
  run)
    passwords
    echo "Watch the piano: http://localhost:9001/piano.html"
    echo "Its user is dashboard, its password: docker compose exec broker cat $secrets/dashboard"
    exec mosquitto -c "$configuration"
    ;;
  check)
    # Nothing arrives: this user may not write. That it was let in is what counts.
    exec mosquitto_pub -p "${PORT:-1883}" -u dashboard -P "$(cat "$secrets/dashboard")" -t check -n
    ;;
  *)
    echo "usage: broker.sh run|check" >&2
    exit 2
    ;;
esac
