//! The table of results and what stands around it.

use std::fmt::Write as _;

use crate::machine::Machine;

/// Which side of a bound is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// What is wanted of a measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) better: Better,
    /// Has to be reached.
    pub(crate) at_least: f64,
    /// Is worked towards.
    pub(crate) aim: f64,
    /// Stands behind each number, with its space.
    pub(crate) unit: &'static str,
    /// Digits after the point of the measured number.
    pub(crate) digits: usize,
}

impl Wanted {
    /// Small numbers are good.
    pub(crate) const fn lower(at_least: f64, aim: f64, unit: &'static str, digits: usize) -> Self {
        Self { better: Better::Lower, at_least, aim, unit, digits }
    }

    /// Large numbers are good.
    pub(crate) const fn higher(at_least: f64, aim: f64, unit: &'static str, digits: usize) -> Self {
        Self { better: Better::Higher, at_least, aim, unit, digits }
    }

    fn is_met_by(&self, value: f64) -> bool {
        match self.better {
            Better::Lower => value <= self.at_least,
            Better::Higher => value >= self.at_least,
        }
    }
}

/// One measure.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    measure: &'static str,
    wanted: Wanted,
    value: f64,
    detail: String,
}

impl Row {
    /// A measure with what was wanted and what was found; `detail` may be empty.
    pub(crate) fn new(measure: &'static str, wanted: Wanted, value: f64, detail: impl Into<String>) -> Self {
        Self { measure, wanted, value, detail: detail.into() }
    }

    fn markdown(&self) -> String {
        let Wanted { at_least, aim, unit, digits, .. } = self.wanted;
        let missed = if self.wanted.is_met_by(self.value) { "" } else { ", **missed**" };
        let detail = if self.detail.is_empty() { String::new() } else { format!(" ({})", self.detail) };
        let value = grouped(&format!("{:.digits$}", self.value));
        let (at_least, aim) = (grouped(&at_least.to_string()), grouped(&aim.to_string()));
        format!("| {} | {at_least}{unit} | {aim}{unit} | {value}{unit}{missed}{detail} |", self.measure)
    }
}

/// How a scenario ended.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) scenario: &'static str,
    pub(crate) rows: Result<Vec<Row>, String>,
}

/// Puts commas between the thousands of a number's whole part.
fn grouped(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut text = sign.to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

/// The whole report.
pub(crate) fn markdown(
    machine: &Machine,
    sections: &[Section],
    floor: &[String],
    by_hand: Option<&str>,
    quick: bool,
) -> String {
    let mut text = "# What the server needs under load\n\n".to_owned();
    let Machine { cores, processor, memory_mib, kernel, disk, fsync_p50, date, revision } = machine;
    let kind = if quick { "`make bench` with `--quick`: short and imprecise" } else { "`make bench`" };
    let _infallible = write!(
        text,
        "Made by {kind} on {date}, revision {revision}.\n\n\
         Machine: {cores} cores of {processor}, {memory_mib} MiB memory, Linux {kernel}. Data on {disk}; appending 4 KiB \
         and flushing takes {fsync_p50:.2} ms (median).\n\n\
         The load generator, the mock model and the server share these cores. Each figure is the median of the \
         repetitions after a warm-up. Every answer was checked: status, numbered events, citations first, the whole text, \
         the terminal event `done`; one bad answer fails its scenario.\n\n\
         | measure | at least | aim | measured |\n|---|---|---|---|\n"
    );
    for section in sections {
        match &section.rows {
            Ok(rows) => rows.iter().for_each(|row| {
                text.push_str(&row.markdown());
                text.push('\n');
            }),
            Err(fault) => {
                let fault = fault.replace('|', "/").replace('\n', " ");
                let _infallible = writeln!(text, "| {} | | | **failed**: {fault} |", section.scenario);
            }
        }
    }
    if !floor.is_empty() {
        text.push_str("\nThe same load generator against the mock model alone, as the floor:\n\n");
        for line in floor {
            let _infallible = writeln!(text, "- {line}");
        }
    }
    if let Some(by_hand) = by_hand {
        let _infallible =
            write!(text, "\nMeasured by hand (`bench/measured-by-hand.txt`):\n\n{}\n", by_hand.trim_end());
    }
    text.push_str(NOTES);
    text
}

const NOTES: &str = "
Notes

- The mock model sends each token as a write of its own. Unless said otherwise an answer has 20 tokens without waiting,
  which no real model does: what remains is what the server adds.
- Knowledge: 200 text files made from a fixed seed, about 3,300 passages, without embeddings.
- Added time to the first token: time to the first text through the server less the same time of the mock model asked
  directly, requests of both in turn. Where flushing takes more than 0.3 ms the excess is subtracted once, since the
  question is stored before it is answered; the raw figure stands beside it.
- CPU: user and system time of the server's processes, one second after the load included.
- Memory: sum over the server's processes of VmRSS (idle) and of VmHWM (peak).
- Ingestion: from the first request that names the uploaded files to the poll that sees all of them done (every 100 ms),
  while 4 clients chat with the assistant of the 3,300 passages; for that the model takes 10 ms a token.
- Retrieval quality is also measured by the tests of `crates/retrieval`, on samples of the project's own.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            cores: 2,
            processor: "CPU".to_owned(),
            memory_mib: 1000,
            kernel: "6".to_owned(),
            disk: "ext4".to_owned(),
            fsync_p50: 0.5,
            date: "2026-01-01".to_owned(),
            revision: "abc".to_owned(),
        }
    }

    #[test]
    fn numbers_have_groups() {
        for (plain, shown) in
            [("1", "1"), ("999", "999"), ("1000", "1,000"), ("2000000", "2,000,000"), ("-1234.567", "-1,234.567")]
        {
            assert_eq!(grouped(plain), shown);
        }
    }

    #[test]
    fn rows_say_what_was_missed() {
        let row = Row::new("time", Wanted::lower(2.0, 0.5, " ms", 2), 2.344, "raw 3 ms");
        assert_eq!(row.markdown(), "| time | 2 ms | 0.5 ms | 2.34 ms, **missed** (raw 3 ms) |");
        let row = Row::new("rate", Wanted::higher(730.0, 2500.0, "/s", 0), 1234.5, "");
        assert_eq!(row.markdown(), "| rate | 730/s | 2,500/s | 1,234/s |");
    }

    #[test]
    fn failures_and_what_was_measured_by_hand_are_shown() {
        let sections = [
            Section { scenario: "search", rows: Err("no | server\nhere".to_owned()) },
            Section { scenario: "start", rows: Ok(vec![Row::new("start", Wanted::lower(1.0, 0.2, " s", 2), 0.1, "")]) },
        ];
        let text = markdown(&machine(), &sections, &["64 clients".to_owned()], Some("clean: 9 min\n"), true);
        for part in [
            "| search | | | **failed**: no / server here |",
            "| start | 1 s | 0.2 s | 0.10 s |",
            "- 64 clients\n",
            "clean: 9 min\n",
            "`--quick`",
        ] {
            assert!(text.contains(part), "{part}");
        }
    }
}
