//! Manners: signals, terminals, progress, quiet.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Sandbox, noise, wait_for};

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The program with no signal ignored, whatever started these tests ignores.
fn heedful(sandbox: &Sandbox) -> Command {
    let program = sandbox.program();
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,TERM").arg(program.get_program()).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    command
}

/// A snapshot of a command that waits, once the command runs; its process id.
fn waiting(sandbox: &Sandbox, script: &str) -> (Child, Pid) {
    let id = sandbox.path("id");
    let script = format!("echo $$ > '{0}.new'; mv '{0}.new' '{0}'; echo begun; {script}", id.display());
    let mut command = heedful(sandbox);
    command.args(["snapshot", "command", "--name", "a", "--", "sh", "-c", &script]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the command", || id.exists());
    let pid = fs::read_to_string(&id).unwrap().trim().parse().unwrap();
    fs::remove_file(&id).unwrap();
    (child, Pid::from_raw(pid).unwrap())
}

/// A shell's words that wait until the file `go` is there.
fn until_told(sandbox: &Sandbox) -> String {
    format!("while [ ! -e '{}' ]; do sleep 0.02; done", sandbox.path("go").display())
}

fn tell(sandbox: &Sandbox) {
    fs::write(sandbox.path("go"), "").unwrap();
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
        // Once while the output is waited for, once when only the command's end is still to come.
        for script in ["exec sleep 1000", "exec >&-; exec sleep 1000"] {
            let (mut child, _) = waiting(&sandbox, script);
            signal(&child, number);
            assert_eq!(said(&mut child), "error: interrupted\n", "{number:?}: {script}");
            assert_eq!(child.wait().unwrap().code(), Some(130), "{number:?}: {script}");
        }
    }
    assert!(sandbox.snapshots().is_empty());
    sandbox.feed(b"x", &["snapshot", "stdin", "--name", "a"]).text();
}

#[test]
fn what_the_command_started_ends_with_it() {
    let sandbox = Sandbox::new();
    let (mut child, _) = waiting(&sandbox, "sleep 1000 & wait");
    signal(&child, Signal::TERM);
    // Standard error ends when the last process that holds it is gone.
    assert_eq!(said(&mut child), "error: interrupted\n");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_silent_pipe_does_not_keep_it_from_ending() {
    let sandbox = Sandbox::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = heedful(&sandbox);
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
    let (mut child, command) = waiting(&sandbox, "trap '' TERM; while :; do sleep 0.1; done");
    signal(&child, Signal::INT);
    // Until the first is handled, a second would be merged with it.
    wait_for("the first interrupt", || pending(&child) & (1 << (Signal::INT.as_raw() - 1)) == 0);
    signal(&child, Signal::INT);
    let status = child.wait().unwrap();
    kill_process(command, Signal::KILL).unwrap();
    assert_eq!(status.code(), Some(130));
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
    let script = format!("touch '{}'; echo x; {}", marker.display(), until_told(&sandbox));
    let mut command = Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_kamba-vault")).args(["snapshot", "command", "--name", "a", "--"]);
    command.args(["sh", "-c", &script]).env("HOME", sandbox.home.path());
    command.env("KAMBA_REPO", sandbox.path("repository")).env("KAMBA_KEY_FILE", sandbox.path("key"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the command", || marker.exists());
    signal(&child, Signal::HUP);
    tell(&sandbox);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(sandbox.snapshots().len(), 1);
}

#[test]
fn progress_is_json_for_programs_and_nothing_when_quiet() {
    let sandbox = Sandbox::new();
    let script = format!("echo x; {}", until_told(&sandbox));
    let start = |flags: &[&str]| {
        let mut command = sandbox.program();
        command.args(flags).args(["snapshot", "command", "--name", "a", "--", "sh", "-c", &script]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // All of them run until one has shown progress: what is quiet would have shown some as well.
    let quiet = [["--json", "-q"], ["--json", "--no-progress"]].map(|flags| start(&flags));
    let verbose = start(&["-v"]);
    let mut json = start(&["--json"]);
    let mut lines = BufReader::new(json.stderr.take().unwrap()).lines().map(Result::unwrap);
    let shown = lines.by_ref().map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap());
    let mut reading = shown.filter(|line| line["phase"] == "reading" && line["bytes"] == 2);
    assert_eq!(reading.next().unwrap()["message_type"], "progress");
    tell(&sandbox);
    drop(reading);
    assert!(lines.all(|line| serde_json::from_str::<serde_json::Value>(&line).is_ok()));
    let json = json.wait_with_output().unwrap();
    assert!(json.status.success());
    serde_json::from_slice::<serde_json::Value>(&json.stdout).unwrap();
    for child in quiet {
        let done = child.wait_with_output().unwrap();
        assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stderr).as_ref()), (Some(0), ""));
    }
    let verbose = verbose.wait_with_output().unwrap();
    assert_eq!((verbose.status.code(), String::from_utf8_lossy(&verbose.stderr).as_ref()), (Some(0), "a\n"));
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
        "--key-file '{}' snapshot command --name a -- sh -c 'cat {}; read told'",
        key.display(),
        sandbox.path("data").display()
    );
    // The command may read from the terminal, and ends when it is told that the bar has been seen.
    let (status, shown) = on_terminal(&sandbox, &args, &[("97.7 KiB", "\n")]);
    assert_eq!(status, 0, "{shown}");
    assert!(shown.contains("reading ") && shown.contains("97.7 KiB"), "{shown:?}");
    // The last thing drawn over the bar is the result, on lines that were cleared.
    let result = shown.split("\u{1b}[2K").last().unwrap();
    assert!(result.trim_start_matches(['\r', '\n']).starts_with("snapshot "), "{result:?}");
}
