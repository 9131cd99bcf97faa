#!/bin/bash
# A Slurm of its own on this machine, for tests/slurm: one controller and two nodes of two cores, all on this host.
#   setup.sh install      installs Slurm by apt, if it is not there
#   setup.sh start DIR    writes configuration and state into DIR, starts the daemons; use it with SLURM_CONF=DIR/slurm.conf
#   setup.sh stop DIR     ends the daemons of DIR
# It needs root and, if Slurm is not installed, apt with Debian's packages.
set -eu

install_slurm() {
  command -v slurmctld slurmd srun munged > /dev/null && return
  [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || { echo "no Slurm here, and no root with apt" >&2; exit 3; }
  apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge > /dev/null
}

configure() {
  host=$(hostname -s)
  mkdir -p "$1/state" "$1/spool-one" "$1/spool-two"
  [ -f "$1/munge.key" ] || (umask 077 && head -c 128 /dev/urandom > "$1/munge.key")
  cat > "$1/slurm.conf" << EOF
ClusterName=tag2mask
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
AuthType=auth/munge
AuthInfo=socket=$1/munge.socket
SlurmUser=root
StateSaveLocation=$1/state
SlurmdSpoolDir=$1/spool-%n
SlurmctldPidFile=$1/slurmctld.pid
SlurmdPidFile=$1/slurmd-%n.pid
SlurmctldLogFile=$1/slurmctld.log
SlurmdLogFile=$1/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,sched_min_interval=0
MpiDefault=none
ReturnToService=2
KillWait=20
SlurmdParameters=config_overrides
NodeName=one,two NodeHostname=$host NodeAddr=127.0.0.1 Port=[26818-26819] CPUs=2 State=UNKNOWN
PartitionName=test Nodes=one,two Default=YES State=UP
EOF
  printf "CgroupPlugin=autodetect\nIgnoreSystemd=yes\n" > "$1/cgroup.conf"
}

start() {
  install_slurm
  configure "$1"
  export SLURM_CONF="$1/slurm.conf"
  munged --force --key-file="$1/munge.key" --socket="$1/munge.socket" --pid-file="$1/munged.pid" \
    --log-file="$1/munged.log" --seed-file="$1/munge.seed" --num-threads=1
  slurmctld -c
  for node in one two; do slurmd -N "$node"; done
  for _ in $(seq 120); do
    [ "$(sinfo -h -t idle -o %D 2> /dev/null)" = 2 ] && { echo "Slurm with two nodes in $1"; return; }
    sleep 0.5
  done
  tail -n 5 "$1"/*.log >&2
  echo "the nodes did not come up" >&2
  exit 4
}

stop() {
  for name in slurmd-one slurmd-two slurmctld munged; do
    [ -f "$1/$name.pid" ] && kill "$(cat "$1/$name.pid")" 2> /dev/null || true
  done
}

case "${1:-} ${2:-}" in
  "install ") install_slurm ;;
  "start /"*) start "$2" ;;
  "stop /"*) stop "$2" ;;
  *) echo "usage: setup.sh install, or setup.sh start|stop DIR (an absolute path)" >&2; exit 2 ;;
esac
