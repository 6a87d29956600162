//! What the numbers were measured on.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::fs::{major, minor};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::figures::{milliseconds, percentile};

/// Writes whose flush is timed.
const FLUSHES: usize = 300;

/// The machine and the moment.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    pub(crate) disk: String,
    /// Median milliseconds of appending 4 KiB to a file and flushing it to the disk.
    pub(crate) fsync_p50: f64,
    pub(crate) date: String,
    pub(crate) revision: String,
}

impl Machine {
    /// Looks at the machine, and at the disk that holds `directory`.
    pub(crate) fn look(directory: &Path) -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        let memory = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let memory_kib: u64 = memory.trim_end_matches("kB").trim().parse().unwrap_or_default();
        let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            processor: value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            memory_mib: memory_kib / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            disk: disk_of(directory).unwrap_or_else(|| "unknown".to_owned()),
            fsync_p50: fsync_p50(directory)?,
            date: OffsetDateTime::now_utc().format(format).context("the date")?,
            revision: revision(),
        })
    }
}

/// Raises the number of descriptors this process may have to what it is allowed; gives that number.
pub(crate) fn raise_descriptor_limit() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("raising the limit of open files")?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

fn fsync_p50(directory: &Path) -> Result<f64> {
    let path = directory.join("fsync-probe");
    let mut file = File::create(&path).context("timing the disk")?;
    let mut times = Vec::with_capacity(FLUSHES);
    for _ in 0..FLUSHES {
        let start = Instant::now();
        file.write_all(&[1; 4096]).context("timing the disk")?;
        file.sync_all().context("timing the disk")?;
        times.push(milliseconds(start.elapsed()));
    }
    fs::remove_file(&path).context("timing the disk")?;
    percentile(&times, 500).context("timing the disk")
}

/// File system, device and whether it turns, from `/proc/self/mountinfo` (proc(5)) and sysfs.
fn disk_of(directory: &Path) -> Option<String> {
    let device = fs::metadata(directory).ok()?.dev();
    let number = format!("{}:{}", major(device), minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let (file_system, source) = mounts.lines().find_map(|line| mount_of(line, &number))?;
    let block = Path::new("/sys/dev/block").join(&number);
    // The queue belongs to the whole disk, one directory above a partition.
    let turns =
        ["queue/rotational", "../queue/rotational"].iter().find_map(|path| fs::read_to_string(block.join(path)).ok());
    let kind = match turns.as_deref().map(str::trim) {
        Some("0") => "the kernel calls it not rotational",
        Some(_) => "the kernel calls it rotational",
        None => "of unknown kind",
    };
    Some(format!("{file_system} on {source} ({kind})"))
}

fn mount_of(line: &str, device: &str) -> Option<(String, String)> {
    let (place, kind) = line.split_once(" - ")?;
    if place.split(' ').nth(2)? != device {
        return None;
    }
    let mut kind = kind.split(' ');
    Some((kind.next()?.to_owned(), kind.next()?.to_owned()))
}

fn revision() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    let Some(revision) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    // The report itself is always among the changes.
    match git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/RESULTS.md"]).as_deref() {
        Some("") => revision,
        _ => format!("{revision} with local changes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts() {
        let line = "29 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw";
        assert_eq!(mount_of(line, "254:0"), Some(("ext4".to_owned(), "/dev/vda".to_owned())));
        assert_eq!(mount_of(line, "254:1"), None);
    }

    #[test]
    fn looks_at_this_machine() {
        let directory = tempfile::tempdir().unwrap();
        let machine = Machine::look(directory.path()).unwrap();
        assert!(machine.cores > 0 && machine.memory_mib > 0 && machine.fsync_p50 > 0.0);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(raise_descriptor_limit().unwrap() > 0);
    }
}
