//! The server as a process: started, measured from outside, stopped.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::http::Connection;

/// The owner's key: 64 characters.
pub(crate) const API_KEY: &str = "bench-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRST";
/// A server that is not ready after this has failed to start.
const START_WITHIN: Duration = Duration::from_mins(1);
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// How to start the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) data_dir: &'a Path,
    /// Empty for the database in the data directory.
    pub(crate) database_url: &'a str,
    /// Receives what the server writes.
    pub(crate) log: &'a Path,
    /// Where the mock model listens.
    pub(crate) mock: SocketAddr,
    pub(crate) model: &'a str,
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pid: u32,
    pub(crate) address: SocketAddr,
    /// From starting the process to the first 200 of `/readyz`.
    pub(crate) ready_after: Duration,
}

impl Server {
    /// Starts the server and waits until it is ready.
    pub(crate) async fn start(launch: Launch<'_>) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = port.context("looking for a free port")?;
        let log = File::options().create(true).append(true).open(launch.log).context("opening the server's log")?;
        let start = Instant::now();
        let mut child = Command::new(launch.binary)
            .arg("serve")
            .arg("--data-dir")
            .arg(launch.data_dir)
            // Nothing of the caller's settings, keys or proxies may change what is measured.
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("PARLANCE__BOOTSTRAP__API_KEY", API_KEY)
            .env("PARLANCE__SERVER__LISTEN", address.to_string())
            .env("PARLANCE__METRICS__LISTEN", "")
            .env("PARLANCE__DATABASE__URL", launch.database_url)
            .env("PARLANCE__LLM__BASE_URL", format!("http://{}/v1", launch.mock))
            .env("PARLANCE__LLM__API_KEY", "x")
            .env("PARLANCE__LLM__MODEL", launch.model)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("opening the server's log")?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", launch.binary.display()))?;
        while !is_ready(address).await {
            if let Some(status) = child.try_wait().context("waiting for the server")? {
                bail!("the server ended while starting ({status}): {}", tail(launch.log));
            }
            if start.elapsed() > START_WITHIN {
                bail!("the server was not ready within {START_WITHIN:?}: {}", tail(launch.log));
            }
            sleep(Duration::from_millis(2)).await;
        }
        let ready_after = start.elapsed();
        let pid = child.id().context("the server has ended")?;
        Ok(Self { child, pid, address, ready_after })
    }

    /// Stops the server and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("the server's process id")?;
        kill_process(pid, Signal::TERM).context("stopping the server")?;
        let ended = timeout(STOP_WITHIN, self.child.wait()).await;
        ended
            .with_context(|| format!("the server did not stop within {STOP_WITHIN:?}"))?
            .context("stopping the server")?;
        Ok(())
    }

    /// Processor seconds, user and system, of the server and its children since their start.
    pub(crate) fn processor_seconds(&self) -> f64 {
        let ticks = rustix::param::clock_ticks_per_second();
        let used: u64 = family(self.pid).iter().map(|process| process.ticks).sum();
        Duration::from_secs(used).as_secs_f64() / Duration::from_secs(ticks.max(1)).as_secs_f64()
    }

    /// MiB of memory that the server and its children hold now.
    pub(crate) fn resident_mib(&self) -> f64 {
        memory_mib(self.pid, "VmRSS:")
    }

    /// Follows the peak memory of the server and its children until it is asked for.
    pub(crate) fn watch_memory(&self) -> MemoryWatch {
        let pid = self.pid;
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let watching = tokio::spawn(async move {
            let mut peak = 0.0_f64;
            loop {
                peak = peak.max(memory_mib(pid, "VmHWM:"));
                if timeout(Duration::from_millis(200), &mut stopped).await.is_ok() {
                    return peak.max(memory_mib(pid, "VmHWM:"));
                }
            }
        });
        MemoryWatch { stop, watching }
    }
}

/// Follows peak memory.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    stop: tokio::sync::oneshot::Sender<()>,
    watching: JoinHandle<f64>,
}

impl MemoryWatch {
    /// The largest sum of the processes' own peaks that was seen, in MiB.
    pub(crate) async fn peak_mib(self) -> Result<f64> {
        drop(self.stop);
        self.watching.await.context("watching memory")
    }
}

async fn is_ready(address: SocketAddr) -> bool {
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let Ok(mut connection) = Connection::open(address).await else { return false };
    matches!(timeout(Duration::from_secs(5), connection.send(request.as_bytes())).await, Ok(Ok(200)))
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

#[derive(Debug, PartialEq, Eq)]
struct ProcessStat {
    pid: u32,
    parent: u32,
    /// Own time and that of children that have ended and were waited for, user and system.
    ticks: u64,
}

/// Reads `/proc/PID/stat` (proc(5)); the name in it may hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<ProcessStat> {
    let pid = text.split(' ').next()?.parse().ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(ProcessStat { pid, parent, ticks })
}

/// The process and all that descend from it.
fn family(root: u32) -> Vec<ProcessStat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = entries.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    let mut by_parent: HashMap<u32, Vec<ProcessStat>> = HashMap::new();
    let mut found = Vec::new();
    for stat in stats.filter_map(|entry| parse_stat(&fs::read_to_string(entry.path().join("stat")).ok()?)) {
        if stat.pid == root {
            found.push(stat);
        } else {
            by_parent.entry(stat.parent).or_default().push(stat);
        }
    }
    let mut next = 0;
    while let Some(pid) = found.get(next).map(|process| process.pid) {
        found.extend(by_parent.remove(&pid).unwrap_or_default());
        next += 1;
    }
    found
}

fn memory_mib(root: u32, field: &str) -> f64 {
    let of_process = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with(field))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u32>().ok()
    };
    family(root).iter().filter_map(|process| of_process(process.pid)).map(|kib| f64::from(kib) / 1024.0).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 9 0 5 6 7";
        assert_eq!(parse_stat(line), Some(ProcessStat { pid: 42, parent: 7, ticks: 110 }));
        assert_eq!(parse_stat("42 (a) S 7"), None);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(memory_mib(std::process::id(), "VmRSS:") > 0.5);
        assert!(family(std::process::id()).iter().any(|process| process.pid == std::process::id()));
    }

    #[test]
    fn the_key_has_its_form() {
        assert_eq!(API_KEY.len(), 64);
        assert!(API_KEY.chars().all(|character| character.is_ascii_alphanumeric() || character == '-'));
    }
}
