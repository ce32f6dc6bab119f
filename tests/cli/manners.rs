//! Manners: signals, terminals, progress, quiet.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Sandbox, noise, wait_for};

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A snapshot of a command that waits, once the command runs.
fn waiting(sandbox: &Sandbox, script: &str) -> Child {
    let marker = sandbox.path("marker");
    let script = format!("touch '{}'; echo begun; {script}", marker.display());
    let mut command = sandbox.program();
    command.args(["snapshot", "command", "--name", "a", "--", "sh", "-c", &script]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the command", || marker.exists());
    child
}

fn said(child: &mut Child) -> String {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

#[test]
fn a_signal_ends_it_and_leaves_no_snapshot() {
    let sandbox = Sandbox::new();
    for number in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut child = waiting(&sandbox, "exec sleep 100");
        signal(&child, number);
        assert_eq!(said(&mut child), "error: interrupted\n");
        assert_eq!(child.wait().unwrap().code(), Some(130), "{number:?}");
        fs::remove_file(sandbox.path("marker")).unwrap();
    }
    assert!(sandbox.snapshots().is_empty());
    sandbox.feed(b"x", &["snapshot", "stdin", "--name", "a"]).text();
}

#[test]
fn a_silent_pipe_does_not_keep_it_from_ending() {
    let sandbox = Sandbox::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = sandbox.program();
    command.args(["snapshot", "stdin", "--name", "a"]).stdin(reader).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(command);
    wait_for("the lease", || sandbox.path("repository/leases").exists());
    signal(&child, Signal::TERM);
    assert_eq!(said(&mut child), "error: interrupted\n");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(writer);
}

#[test]
fn a_second_interrupt_ends_it_at_once() {
    let sandbox = Sandbox::new();
    // A command that does not end when it is asked to, so that ours waits for it.
    let mut child = waiting(&sandbox, "trap '' TERM; while :; do sleep 0.1; done");
    signal(&child, Signal::INT);
    // Until the first is handled, a second would be merged with it.
    wait_for("the first interrupt", || pending(&child) & (1 << (Signal::INT.as_raw() - 1)) == 0);
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    // The command's output goes nowhere now, which ends it.
    assert!(sandbox.snapshots().is_empty());
}

/// The signals that wait to be delivered (proc(5)).
fn pending(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let masks = status.lines().filter_map(|line| line.strip_prefix("ShdPnd:"));
    masks.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).fold(0, |all, mask| all | mask)
}

#[test]
fn nohup_is_honoured() {
    let sandbox = Sandbox::new();
    let marker = sandbox.path("marker");
    let script = format!("touch '{}'; echo x; sleep 1", marker.display());
    let mut command = Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_kamba-vault")).args(["snapshot", "command", "--name", "a", "--"]);
    command.args(["sh", "-c", &script]).env("HOME", sandbox.home.path());
    command.env("KAMBA_REPO", sandbox.path("repository")).env("KAMBA_KEY_FILE", sandbox.path("key"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the command", || marker.exists());
    signal(&child, Signal::HUP);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(sandbox.snapshots().len(), 1);
}

#[test]
fn progress_is_json_for_programs_and_nothing_when_quiet() {
    let sandbox = Sandbox::new();
    let script = ["--", "sh", "-c", "echo x; sleep 3"];
    let run = |flag: &str| {
        let args = [&[flag, "snapshot", "command", "--name", "a"], &script[..]].concat();
        sandbox.run(&args)
    };
    let json = run("--json");
    assert_eq!(json.status, 0, "{json:?}");
    serde_json::from_slice::<serde_json::Value>(&json.stdout).unwrap();
    let lines: Vec<serde_json::Value> =
        json.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reading = lines.iter().find(|line| line["phase"] == "reading").unwrap();
    assert_eq!((&reading["message_type"], &reading["bytes"]), (&"progress".into(), &2.into()));
    for quiet in ["-q", "--no-progress"] {
        run(quiet).text();
    }
    let verbose = run("-v");
    assert_eq!((verbose.status, verbose.stderr.as_str()), (0, "a\n"));
}

fn on_terminal(sandbox: &Sandbox, args: &str, answers: &[(&str, &str)]) -> (i32, String) {
    shell_on_terminal(sandbox, &format!("exec '{}' {args}", env!("CARGO_BIN_EXE_kamba-vault")), answers)
}

/// Runs a shell's line on a terminal of its own (script(1)), types each answer when its prompt has
/// appeared, and gives everything that the terminal showed.
fn shell_on_terminal(sandbox: &Sandbox, line: &str, answers: &[(&str, &str)]) -> (i32, String) {
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--echo", "always", "--command", line, "/dev/null"]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", sandbox.home.path());
    command.env("KAMBA_REPO", sandbox.path("repository")).env("TERM", "xterm").env("SHELL", "/bin/sh");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    let mut seen = 0;
    for (prompt, answer) in answers {
        loop {
            let text = String::from_utf8_lossy(&shown[seen..]).into_owned();
            if let Some(at) = text.find(prompt) {
                seen += at + prompt.len();
                break;
            }
            let mut piece = [0; 1024];
            let n = stdout.read(&mut piece).unwrap();
            assert_ne!(n, 0, "no {prompt:?} in {text:?}");
            shown.extend_from_slice(&piece[..n]);
        }
        stdin.write_all(answer.as_bytes()).unwrap();
    }
    stdout.read_to_end(&mut shown).unwrap();
    drop(stdin);
    (child.wait().unwrap().code().unwrap(), String::from_utf8(shown).unwrap())
}

#[test]
fn a_person_is_asked_for_the_passphrase_and_it_does_not_show() {
    let sandbox = Sandbox::empty();
    let (status, shown) =
        on_terminal(&sandbox, "init", &[("New passphrase: ", "hunter2\n"), ("again: ", "hunter2\n")]);
    assert_eq!(status, 0, "{shown}");
    assert!(shown.contains("created repository") && !shown.contains("hunter2"), "{shown}");
    let (status, shown) = on_terminal(&sandbox, "stats", &[("Passphrase of the repository: ", "hunter2\n")]);
    assert_eq!(status, 0, "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let (status, shown) = on_terminal(&sandbox, "stats", &[("repository: ", "hunter3\n")]);
    assert_eq!(status, 12, "{shown}");
}

#[test]
fn two_passphrases_that_differ_make_no_repository() {
    let sandbox = Sandbox::empty();
    let (status, shown) =
        on_terminal(&sandbox, "init", &[("New passphrase: ", "hunter2\n"), ("again: ", "hunter3\n")]);
    assert_eq!(status, 2, "{shown}");
    assert!(shown.contains("differ"), "{shown}");
    assert!(!sandbox.path("repository/config").exists());
    // Nothing is asked where there is no repository to open.
    let (status, shown) = on_terminal(&sandbox, "stats", &[]);
    assert_eq!(status, 10, "{shown}");
    assert!(!shown.contains("Passphrase"), "{shown}");
}

#[test]
fn an_interrupt_at_the_prompt_ends_it_and_gives_the_echo_back() {
    let sandbox = Sandbox::empty();
    // The shell that runs it must outlive the interrupt, as an interactive one does.
    let program = env!("CARGO_BIN_EXE_kamba-vault");
    let line = format!("trap : INT; '{program}' init; echo status $?; stty -a");
    let (_, shown) = shell_on_terminal(&sandbox, &line, &[("New passphrase: ", "\u{3}")]);
    assert!(shown.contains("error: interrupted") && shown.contains("status 130"), "{shown}");
    assert!(shown.contains(" echo ") && !shown.contains("-echo "), "{shown}");
}

#[test]
fn a_terminal_is_no_stream_to_store() {
    let sandbox = Sandbox::new();
    let (status, shown) = on_terminal(&sandbox, "snapshot stdin --name a", &[]);
    assert_eq!(status, 2, "{shown}");
    assert!(shown.contains("standard input is a terminal"), "{shown}");
}

#[test]
fn bars_are_drawn_on_a_terminal_and_leave_nothing_behind() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("data"), noise(100_000)).unwrap();
    let key = sandbox.path("key");
    let args = format!(
        "--key-file '{}' snapshot command --name a -- sh -c 'cat {}; sleep 1'",
        key.display(),
        sandbox.path("data").display()
    );
    let (status, shown) = on_terminal(&sandbox, &args, &[]);
    assert_eq!(status, 0, "{shown}");
    assert!(shown.contains("reading ") && shown.contains("97.7 KiB"), "{shown:?}");
    // The last thing drawn over the bar is the result, on lines that were cleared.
    let result = shown.split("\u{1b}[2K").last().unwrap();
    assert!(result.trim_start_matches(['\r', '\n']).starts_with("snapshot "), "{result:?}");
}
