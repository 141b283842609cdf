#!/bin/sh
# Installs the servers that the tests use for real (Debian or Ubuntu, as root), without one of them ever being started:
# the tests start their own, on private ports and in temporary folders. Does nothing for what is there already.
set -eu

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "services.sh installs Debian packages: run it as root on Debian or Ubuntu, or install them yourself" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive

updated=no
install() {
    [ "$updated" = yes ] || { apt-get update -qq && updated=yes; }
    apt-get install -qq --yes --no-install-recommends "$@" >/dev/null
}

# A server's package starts the server, now and at each boot, unless the machine's policy and systemd forbid it.
policy=/usr/sbin/policy-rc.d
install_idle() { # PACKAGE, whose service has the same name
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    fi
    mkdir -p /etc/systemd/system
    [ -e "/etc/systemd/system/$1.service" ] || ln -s /dev/null "/etc/systemd/system/$1.service"
    install "$1"
}

# Debian makes and starts a cluster of its own with the package, unless it is told not to before the package comes.
if ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
    install postgresql-common
    sed -i "s/^#\?create_main_cluster.*/create_main_cluster = false/" /etc/postgresql-common/createcluster.conf
    install postgresql
fi

# redis-tools has the server's program too, under the name of another; the package redis-server adds a service to it.
command -v redis-server >/dev/null 2>&1 || command -v redis-check-rdb >/dev/null 2>&1 || install redis-tools

# Compose's own command checks compose.yaml; it starts nothing.
command -v docker-compose >/dev/null 2>&1 || install docker-compose

command -v prometheus >/dev/null 2>&1 && command -v promtool >/dev/null 2>&1 || install_idle prometheus

ls /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server >/dev/null 2>&1 || install_idle rabbitmq-server

# The browser in which the tests open the pages.
command -v chromium >/dev/null 2>&1 || install chromium

echo "MLflow and S3: $(sh "$(dirname "$0")/mlflow_for_tests.sh")"
echo "PostgreSQL: $(ls -d /usr/lib/postgresql/*/bin | tail -n 1)"
echo "Redis: $(command -v redis-server || command -v redis-check-rdb)"
echo "Prometheus: $(command -v prometheus)"
echo "Chromium: $(command -v chromium)"
echo "RabbitMQ: $(ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin | tail -n 1)"
