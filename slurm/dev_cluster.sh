#!/usr/bin/env bash
# A real SLURM on this host for development and tests: nodes node1 and node2 with 4 CPUs each, and
# partitions low and high; high preempts low. For Debian and Ubuntu, as root.
#
#   slurm/dev_cluster.sh start [--install]   start, or restart dead daemons
#   slurm/dev_cluster.sh stop                kill all jobs, stop, forget the queue
#   slurm/dev_cluster.sh status              exit code 0 if both nodes are ready, else 1
#   slurm/dev_cluster.sh kill-node NODE      kill all processes of a node, like a power failure
#   slurm/dev_cluster.sh start-node NODE     start the node again
#
# All state is in one folder: --state DIR, else ORBIT_DEV_CLUSTER, else /tmp/orbit-dev-cluster. The
# ports are ORBIT_DEV_CLUSTER_PORT (26817 unless set) and the two after it. The system's
# own SLURM is neither used nor changed. --install installs missing packages with apt-get. Outside of
# the folder only /etc/hosts changes: the names node1 and node2 are added.
# `eval "$(slurm/dev_cluster.sh start)"` makes a shell use the cluster.

set -euo pipefail

NODES=(node1 node2)
STATE=${ORBIT_DEV_CLUSTER:-/tmp/orbit-dev-cluster}
PORT=${ORBIT_DEV_CLUSTER_PORT:-26817}
START_TIMEOUT_S=60
STOP_TIMEOUT_S=15

main() {
    local words=() install=no
    while (($#)); do
        case $1 in
            --install) install=yes ;;
            --state) [[ $# -gt 1 ]] || fail '--state needs a folder'; STATE=$2; shift ;;
            *) words+=("$1") ;;
        esac
        shift
    done
    export SLURM_CONF=$STATE/slurm.conf
    case "${words[*]-}" in
        start) start "$install" ;;
        stop) stop ;;
        status) status ;;
        'kill-node '*) known_node "${words[1]}"; require_root; kill_node "${words[1]}" ;;
        'start-node '*) known_node "${words[1]}"; start_one_node "${words[1]}" ;;
        *) fail 'usage: dev_cluster.sh start|stop|status|kill-node NODE|start-node NODE' \
            '[--install] [--state DIR]' ;;
    esac
}

fail() {
    printf 'dev_cluster.sh: %s\n' "$*" >&2
    exit 1
}

known_node() {
    [[ " ${NODES[*]} " == *" $1 "* ]] || fail "unknown node $1; the nodes are ${NODES[*]}"
}

# --- requirements -----------------------------------------------------------------------------

missing_programs() {
    local program
    for program in munged slurmctld slurmd sbatch; do
        command -v "$program" >/dev/null || printf '%s ' "$program"
    done
}

require_programs() {
    local install=$1 missing
    missing=$(missing_programs)
    if [[ -n $missing && $install == yes ]]; then
        command -v apt-get >/dev/null || fail 'no apt-get here: install SLURM and munge by hand'
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y slurm-wlm munge; } >&2 ||
            fail 'apt-get could not install slurm-wlm and munge'
        missing=$(missing_programs)
    fi
    [[ -z $missing ]] || fail "not found: ${missing% }; --install installs slurm-wlm and munge"
}

require_root() {
    ((EUID == 0)) || fail 'only root can run this: SLURM starts jobs in the name of their users'
}

require_node_names() {
    local name
    for name in "${NODES[@]}"; do
        getent hosts "$name" >/dev/null || { printf '127.0.0.1 %s\n' "$name" >>/etc/hosts; } 2>/dev/null || :
        [[ $(getent ahostsv4 "$name") == 127.* ]] ||
            fail "$name must resolve to this host: put the line '127.0.0.1 $name' into /etc/hosts"
    done
}

require_state_folder() {
    [[ $STATE =~ ^/[A-Za-z0-9_./-]+$ ]] ||
        fail "state folder '$STATE': an absolute path of letters, digits and _ . / - is needed"
    mkdir -p "$STATE" || fail "cannot make the state folder $STATE"
    [[ -O $STATE && ! -L $STATE ]] || fail "the state folder $STATE belongs to somebody else"
    chmod 755 "$STATE"
    mkdir -p "$STATE/munge" "$STATE/control" "${NODES[@]/#/$STATE/}"
    # One start, stop or restart at a time. Daemons must not inherit the lock: 9>&- below.
    exec 9>"$STATE/lock"
    flock --timeout 120 9 || fail "another dev_cluster.sh is using $STATE"
}

# --- processes: the process that holds a log file open is the daemon that writes it ------------

holders() {
    find /proc/[0-9]*/fd -maxdepth 1 -lname "$1" 2>/dev/null | cut -d/ -f3 | sort -u
}

# The given processes and all their descendants.
families() {
    local pid
    for pid in "$@"; do
        printf '%s\n' "$pid"
        # shellcheck disable=SC2046
        families $(cat /proc/"$pid"/task/*/children 2>/dev/null)
    done
}

signal() {
    local name=$1
    shift
    (($# == 0)) || kill -s "$name" "$@" 2>/dev/null || :
}

# slurmd, the step daemons, which outlive it, and the processes of their jobs.
kill_node() {
    # shellcheck disable=SC2046
    signal KILL $(families $(holders "$STATE/$1.log"))
}

# Ask the processes that hold a log file open to end; kill them after a while.
end_daemon() {
    local log=$1 i
    # shellcheck disable=SC2046
    for ((i = 0; i < STOP_TIMEOUT_S * 5; i++)); do
        [[ -n $(holders "$log") ]] || return 0
        ((i % 25)) || signal TERM $(holders "$log")
        sleep 0.2
    done
    # shellcheck disable=SC2046
    signal KILL $(holders "$log")
}

# --- start ------------------------------------------------------------------------------------

write_configuration() {
    local host memory_kib rest
    host=$(hostname -s)
    read -r _ memory_kib rest </proc/meminfo
    sed -e "s|@HOST@|$host|g" -e "s|@STATE@|$STATE|g" -e "s|@MEMORY_MIB@|$((memory_kib / 2048))|g" \
        -e "s|@CONTROL_PORT@|$PORT|g" -e "s|@NODE1_PORT@|$((PORT + 1))|g" \
        -e "s|@NODE2_PORT@|$((PORT + 2))|g" "$TEMPLATE" >"$SLURM_CONF.new"
    mv "$SLURM_CONF.new" "$SLURM_CONF"
}

# Run a command that becomes a daemon, unless the daemon that writes its log is alive.
launch() {
    local log=$1
    shift
    [[ -z $(holders "$log") ]] || return 0
    timeout 20 "$@" 9>&- >&2 || fail "${1##*/} does not start; the end of $log:"$'\n'"$(tail "$log" 2>&1)"
}

start_munged() {
    if [[ ! -s $STATE/munge/key ]]; then
        (umask 077 && head -c 1024 /dev/urandom >"$STATE/munge/key")
    fi
    launch "$STATE/munge/log" munged --force --key-file="$STATE/munge/key" \
        --socket="$STATE/munge/socket" --pid-file="$STATE/munge/pid" \
        --log-file="$STATE/munge/log" --seed-file="$STATE/munge/seed"
}

start_node() {
    # A step daemon may still write the log of a slurmd that has died.
    if ! slurmd_lives "$1"; then
        kill_node "$1"
    fi
    launch "$STATE/$1.log" slurmd -f "$SLURM_CONF" -N "$1"
}

slurmd_lives() {
    local pid name
    for pid in $(holders "$STATE/$1.log"); do
        name=$(cat "/proc/$pid/comm" 2>/dev/null) || continue
        [[ $name != slurmd ]] || return 0
    done
    return 1
}

# One line per node: its name and its state; a state that ends in * means that the node does not answer.
node_states() {
    timeout 20 sinfo --noheader --Node --partition=low --format='%N %T' 2>&1
}

all_nodes_serve() {
    [[ -n $(holders "$STATE/slurmctld.log") ]] || return 1
    local serving
    serving=$(node_states | grep -cE ' (idle|mixed|allocated|completing)$') || return 1
    ((serving == ${#NODES[@]}))
}

start() {
    require_programs "$1"
    require_root
    require_node_names
    require_state_folder
    local node
    start_munged
    if ! all_nodes_serve; then
        [[ -n $(holders "$STATE/slurmctld.log") ]] || write_configuration
        launch "$STATE/slurmctld.log" slurmctld -f "$SLURM_CONF"
        for node in "${NODES[@]}"; do
            start_node "$node"
        done
    fi
    local deadline=$((SECONDS + START_TIMEOUT_S))
    until all_nodes_serve; do
        ((SECONDS < deadline)) ||
            fail "the nodes are not ready after $START_TIMEOUT_S s: $(node_states | tr '\n' ';')" \
                $'\n'"$(tail -n 5 "$STATE"/slurmctld.log "$STATE"/node?.log 2>&1)"
        sleep 0.5
    done
    node_states >&2
    echo "export SLURM_CONF=$SLURM_CONF"
}

start_one_node() {
    require_programs no
    require_root
    [[ -f $SLURM_CONF ]] || fail "no cluster in $STATE: run dev_cluster.sh start"
    start_node "$1"
}

# --- stop and status --------------------------------------------------------------------------

stop() {
    [[ -d $STATE ]] || { echo "no cluster runs: $STATE does not exist"; return; }
    require_root
    require_state_folder
    local node
    end_daemon "$STATE/slurmctld.log"
    for node in "${NODES[@]}"; do
        kill_node "$node"
    done
    end_daemon "$STATE/munge/log"
    rm -rf "$STATE/control" "${NODES[@]/#/$STATE/}" "$STATE"/*.pid
    echo "stopped; logs are kept in $STATE"
}

status() {
    local missing
    missing=$(missing_programs)
    [[ -z $missing ]] || fail "not found: ${missing% }; start --install installs slurm-wlm and munge"
    require_root
    [[ -f $SLURM_CONF && -n $(holders "$STATE/slurmctld.log") ]] || fail "no cluster runs in $STATE"
    timeout 20 sinfo || fail 'slurmctld does not answer'
    echo "export SLURM_CONF=$SLURM_CONF"
    all_nodes_serve || fail "not all nodes are ready: $(node_states | tr '\n' ';')"
}

TEMPLATE=$(cd "${BASH_SOURCE[0]%/*}" && pwd)/dev_cluster.conf.in
main "$@"
