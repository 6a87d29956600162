//! The box: resource limits, no new privileges, no file system, and only the system calls that parsing needs.

use std::collections::BTreeMap;

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::parser::ParseLimits;
use crate::ParseError;

/// Lowers the resource limits of this process and ties its life to the parent's. They also hold after an exec.
///
/// # Errors
/// When the kernel refuses a limit.
pub fn limit_resources(limits: &ParseLimits) -> Result<(), ParseError> {
    let exactly = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    let cpu = limits.cpu_seconds.max(1);
    let list = [
        (Resource::As, exactly(limits.address_space_bytes)),
        // First a signal that ends the process, a second later one that nothing can stop.
        (Resource::Cpu, Rlimit { current: Some(cpu), maximum: Some(cpu + 1) }),
        (Resource::Fsize, exactly(0)),
        (Resource::Nofile, exactly(16)),
        (Resource::Nproc, exactly(0)),
        (Resource::Core, exactly(0)),
    ];
    for (resource, limit) in list {
        setrlimit(resource, limit)
            .map_err(|error| ParseError::internal(format!("The parser's {resource:?} limit was refused: {error}.")))?;
    }
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| ParseError::internal(format!("The parser could not be tied to its parent: {error}.")))
}

/// Shuts this process in for good: no new privileges, no access to the file system or the network, and a list of
/// system calls that leaves out opening files, sockets, programs, threads and processes.
///
/// The Landlock part is as strict as the kernel allows; the system call filter is required.
///
/// # Errors
/// When the filter cannot be installed. The caller must then not go on.
pub fn confine() -> Result<(), ParseError> {
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| ParseError::internal(format!("The parser could not give up privileges: {error}.")))?;
    deny_files_and_network();
    let program = system_call_filter().map_err(|error| {
        ParseError::internal(format!("The parser's system call filter could not be built: {error}."))
    })?;
    seccompiler::apply_filter(&program)
        .map_err(|error| ParseError::internal(format!("The parser's system call filter was refused: {error}.")))
}

/// Landlock without a single rule denies everything it handles. The filter below denies the same things by other
/// means, so an old kernel without Landlock is no reason to stop.
fn deny_files_and_network() {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V6))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(ABI::V6)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create);
    if let Ok(ruleset) = ruleset {
        drop(ruleset.restrict_self());
    }
}

fn system_call_filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Looking at descriptor flags is what the standard library does; nothing else of fcntl is needed.
    let command = |value: i32| {
        let value = u64::from(value.unsigned_abs());
        SeccompRule::new(vec![SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?])
    };
    rules.insert(libc::SYS_fcntl, vec![command(libc::F_GETFD)?, command(libc::F_GETFL)?]);
    // An abort signals the own process; no other one may be signalled.
    let own = u64::from(std::process::id());
    let own = SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own)?])?;
    rules.insert(libc::SYS_tgkill, vec![own]);
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture)?.try_into()
}

/// Reading and writing what is open, memory, time, randomness, signals to itself, and the end.
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_close,
    libc::SYS_ppoll,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_exit,
    libc::SYS_exit_group,
];
