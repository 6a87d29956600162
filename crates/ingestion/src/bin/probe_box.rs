//! Shuts itself in as the parser child does and then tries to get out. Only the tests start it: without a word it
//! prints one line per attempt, with `allocate` it takes memory without end, with `loop` it computes without end.

use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use parlance_ingestion::{ParseLimits, confine, limit_resources};

fn main() -> ExitCode {
    let mut output = std::io::stdout();
    let limits = ParseLimits { cpu_seconds: 1, ..ParseLimits::default() };
    if let Err(error) = limit_resources(&limits).and_then(|()| confine()) {
        return if writeln!(output, "box: {error}").is_ok() { ExitCode::FAILURE } else { ExitCode::from(3) };
    }
    match std::env::args().nth(1).as_deref() {
        Some("allocate") => allocate(),
        Some("loop") => compute(),
        _ => attempt_all(&mut output),
    }
}

fn allocate() -> ExitCode {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    // Ten gigabytes, written to so that they are really there.
    for _ in 0..640 {
        blocks.push(vec![1; 16 << 20]);
    }
    ExitCode::from(u8::try_from(blocks.len() % 7).unwrap_or(0))
}

fn compute() -> ExitCode {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_mul(3).wrapping_add(1));
    }
}

fn attempt_all(output: &mut impl Write) -> ExitCode {
    let attempts: [(&str, bool); 10] = [
        ("tcp socket", TcpStream::connect("127.0.0.1:9").is_err_and(|error| denied(&error))),
        ("tcp listener", TcpListener::bind("127.0.0.1:0").is_err_and(|error| denied(&error))),
        ("udp socket", UdpSocket::bind("127.0.0.1:0").is_err_and(|error| denied(&error))),
        ("unix socket", UnixStream::connect("/run/none").is_err_and(|error| denied(&error))),
        ("exec", denied(&Command::new("/bin/true").exec())),
        ("fork", Command::new("/bin/true").spawn().is_err()),
        ("read file", std::fs::read("/etc/passwd").is_err_and(|error| denied(&error))),
        ("write file", std::fs::write("/tmp/parlance-probe", "x").is_err_and(|error| denied(&error))),
        ("list directory", std::fs::read_dir("/").is_err_and(|error| denied(&error))),
        ("thread", std::thread::Builder::new().spawn(|| ()).is_err()),
    ];
    for (name, was_denied) in attempts {
        let verdict = if was_denied { "denied" } else { "ALLOWED" };
        if writeln!(output, "{name}: {verdict}").is_err() {
            return ExitCode::from(3);
        }
    }
    ExitCode::SUCCESS
}

fn denied(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::PermissionDenied
}
