//! Signatures, checked by those who will check them: the Python and the JavaScript of the manual.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::*;

const MANUAL: &str = include_str!("../../../docs/API-DESIGN.md");

#[test]
fn the_example_of_the_specification() {
    let key = key_of(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let body = r#"{"test": 2432232314}"#;
    let signed = signatures(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).unwrap();
    assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn secrets_are_long_and_of_their_own() {
    let (one, other) = (new_secret().unwrap(), new_secret().unwrap());
    assert_ne!(one.as_str(), other.as_str());
    assert_eq!(key_of(one.as_bytes()).unwrap().len(), SECRET_BYTES);
    assert!(key_of(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_err() && key_of(b"whsec_%").is_err());
}

/// The code of the manual's section on verifying, in this language.
fn manual(language: &str) -> String {
    let section = MANUAL.split_once("### Verify a webhook").unwrap().1;
    let code = section.split_once(&format!("```{language}\n")).unwrap().1;
    code.split_once("```").unwrap().0.to_owned()
}

/// A webhook as a receiver gets it, with the secret and the clock of the receiver.
struct Case {
    secret: String,
    id: String,
    seconds: i64,
    signature: String,
    body: String,
    now: i64,
    is_genuine: bool,
}

impl Case {
    fn line(&self) -> Value {
        let headers = json!({
            "webhook-id": self.id,
            "webhook-timestamp": self.seconds.to_string(),
            "webhook-signature": self.signature,
        });
        json!({"secret": self.secret, "headers": headers, "body": self.body, "now": self.now})
    }
}

const NOW: i64 = 1_800_000_000;

/// Numbers that are always the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn random_body(numbers: &mut Numbers) -> String {
    let signs = ['a', '{', '"', '\\', '\n', '\r', '\t', '.', ' ', '\u{0}', '\u{7f}', 'é', '退', '貨', '😀', '\u{feff}'];
    let length = numbers.below(120);
    let content: String = (0..length).map(|_| signs[usize::try_from(numbers.below(16)).unwrap()]).collect();
    // JSON mostly, but signatures do not care.
    if numbers.below(4) == 0 { content } else { json!({"content": content}).to_string() }
}

fn signed(keys: &[&str], id: &str, body: &str) -> String {
    let keys: Vec<_> = keys.iter().map(|secret| key_of(secret.as_bytes()).unwrap()).collect();
    signatures(&keys, id, NOW, body).unwrap()
}

fn cases() -> Vec<Case> {
    let mut numbers = Numbers(7);
    let secrets: Vec<String> = (0..4).map(|_| new_secret().unwrap().to_string()).collect();
    let (own, previous, other) = (&secrets[0], &secrets[1], &secrets[2]);
    let mut cases = Vec::new();
    for number in 0..10_000_i64 {
        let body = random_body(&mut numbers);
        let id = format!("019a0000-0000-7000-8000-{number:012}");
        // Every third one is of a day in which the secret was changed.
        let keys: &[&str] = if number % 3 == 0 { &[own, previous] } else { &[own] };
        let signature = signed(keys, &id, &body);
        let now = NOW + i64::try_from(numbers.below(601)).unwrap() - 300;
        let secret = if number % 6 == 0 { previous } else { own };
        let good = Case { secret: secret.clone(), id, seconds: NOW, signature, body, now, is_genuine: true };
        if number % 10 == 0 {
            let forge = |change: &dyn Fn(&mut Case)| {
                let mut forged = Case { is_genuine: false, ..good.copy() };
                change(&mut forged);
                forged
            };
            cases.push(forge(&|case| case.body.push(' ')));
            cases.push(forge(&|case| case.body = "{}{}".to_owned()));
            cases.push(forge(&|case| case.id.push('1')));
            cases.push(forge(&|case| case.seconds += 1));
            cases.push(forge(&|case| case.secret.clone_from(other)));
            cases.push(forge(&|case| case.now = NOW + 301));
            cases.push(forge(&|case| case.now = NOW - 301));
            cases.push(forge(&|case| case.signature = case.signature.replace("v1,", "v2,")));
            cases.push(forge(&|case| case.signature = case.signature.replace("v1,", "v1,A")));
            // The former secret after its time.
            cases.push(forge(&|case| {
                case.signature = signed(&[own], &case.id, &case.body);
                case.secret.clone_from(previous);
            }));
        }
        cases.push(good);
    }
    cases
}

impl Case {
    fn copy(&self) -> Self {
        Self {
            secret: self.secret.clone(),
            id: self.id.clone(),
            signature: self.signature.clone(),
            body: self.body.clone(),
            ..*self
        }
    }
}

/// Has a program check the cases, which come one a line; it says `ok` or `no` to each.
fn check(program: &str, arguments: &[&str], cases: &[Case]) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    let lines: String = cases.iter().map(|case| case.line().to_string() + "\n").collect();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let verdicts: Vec<&str> = text.lines().collect();
    assert_eq!(verdicts.len(), cases.len(), "{program} {}", output.status);
    for (case, verdict) in cases.iter().zip(verdicts) {
        assert_eq!(verdict == "ok", case.is_genuine, "{program}: {}", case.line());
    }
}

#[test]
fn receivers_who_follow_the_manual_believe_what_is_genuine_and_nothing_else() {
    let cases = cases();
    assert_eq!(cases.iter().filter(|case| case.is_genuine).count(), 10_000);
    let python = manual("python")
        + r#"
import json, sys
for line in sys.stdin:
    case = json.loads(line)
    try:
        verify(case["secret"], case["headers"], case["body"].encode(), case["now"])
        print("ok")
    except ValueError:
        print("no")
"#;
    check("python3", &["-c", &python], &cases);
    let node = manual("js")
        + r#"
import { createInterface } from "node:readline";
const verdicts = [];
for await (const line of createInterface({ input: process.stdin })) {
  const { secret, headers, body, now } = JSON.parse(line);
  try {
    verify(secret, headers, Buffer.from(body), now);
    verdicts.push("ok");
  } catch {
    verdicts.push("no");
  }
}
console.log(verdicts.join("\n"));
"#;
    check("node", &["--input-type=module", "-e", &node], &cases);
}
