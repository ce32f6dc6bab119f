//! What `postgresql.auto.conf` tells a restored cluster: where its WAL comes from and where to stop. What the
//! file said before stays, but for settings of an earlier recovery: two targets at once are an error to the
//! server (`error_multiple_recovery_targets` in `guc.c`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::ops::restore_pitr::target::{Action, Target};

/// Settings of a recovery, which are ours alone in that file.
const OWN: [&str; 10] = [
    "restore_command",
    "recovery_target",
    "recovery_target_time",
    "recovery_target_lsn",
    "recovery_target_xid",
    "recovery_target_name",
    "recovery_target_inclusive",
    "recovery_target_timeline",
    "recovery_target_action",
    // It would be run on another cluster's WAL.
    "archive_cleanup_command",
];

/// The recovery's settings.
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    /// The words of the command that fetches WAL, up to `wal fetch`.
    pub fetch: &'a [OsString],
    /// Whether to take the beginning of a segment where there is no whole one.
    pub partial: bool,
    /// Where to end.
    pub target: &'a Target,
    /// Whether to end right before the target.
    pub exclusive: bool,
    /// The timeline to follow: its number, or `current`.
    pub timeline: String,
    /// What to do then.
    pub action: Action,
}

/// The file's new text, made of the old one.
pub fn auto_conf(old: &[u8], settings: &Settings<'_>) -> Vec<u8> {
    let mut text = Vec::with_capacity(old.len() + 1024);
    for line in old.split_inclusive(|byte| *byte == b'\n') {
        if OWN.contains(&setting_name(line).as_str()) {
            text.extend_from_slice(b"# replaced by kamba-vault: ");
        }
        text.extend_from_slice(line);
    }
    if text.last().is_some_and(|byte| *byte != b'\n') {
        text.push(b'\n');
    }
    text.extend_from_slice(b"# Recovery settings of kamba-vault restore pitr\n");
    let mut set = |name: &str, value: &[u8]| {
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b" = '");
        text.extend_from_slice(&quoted(value));
        text.extend_from_slice(b"'\n");
    };
    set("restore_command", &restore_command(settings.fetch, settings.partial));
    if let Some((name, value)) = settings.target.setting() {
        set(name, value.as_bytes());
        if settings.target.can_be_exclusive() {
            set("recovery_target_inclusive", if settings.exclusive { b"false" } else { b"true" });
        }
        set("recovery_target_action", settings.action.setting().as_bytes());
    }
    set("recovery_target_timeline", settings.timeline.as_bytes());
    text
}

/// The command for a shell, with what PostgreSQL replaces: `%f` is the file's name and `%p` its path, both of
/// the server's making and without blanks or quotes; any other per cent sign is doubled.
fn restore_command(fetch: &[OsString], partial: bool) -> Vec<u8> {
    let mut command = Vec::new();
    for word in fetch {
        for byte in shell_word(word.as_bytes()) {
            command.push(byte);
            if byte == b'%' {
                command.push(byte);
            }
        }
        command.push(b' ');
    }
    command.extend_from_slice(if partial { b"wal fetch --partial" } else { b"wal fetch" });
    command.extend_from_slice(b" %f \"%p\"");
    command
}

/// A word as the shell takes it apart again: in quotes unless it is plain.
fn shell_word(word: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:=@,%".contains(byte);
    if !word.is_empty() && word.iter().all(plain) {
        return word.to_vec();
    }
    let mut quoted = vec![b'\''];
    for byte in word {
        match byte {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

/// A value between the quotes of a configuration file (`GUC_scanstr` in `guc-file.l`).
fn quoted(value: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(value.len());
    for byte in value {
        match byte {
            b'\'' => quoted.extend_from_slice(b"''"),
            b'\\' => quoted.extend_from_slice(b"\\\\"),
            b'\n' => quoted.extend_from_slice(b"\\n"),
            byte => quoted.push(*byte),
        }
    }
    quoted
}

/// The setting that a line of a configuration file is about, in lower case; empty if it is about none.
fn setting_name(line: &[u8]) -> String {
    let line = line.trim_ascii_start();
    let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'_' | b'.');
    let name: Vec<u8> = line.iter().take_while(is_name).copied().collect();
    String::from_utf8_lossy(&name).to_ascii_lowercase()
}

/// Targets that another configuration file of the cluster sets already: the server would refuse to have two.
pub fn targets_in(file: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for line in file.split(|byte| *byte == b'\n') {
        let name = setting_name(line);
        let is_target = OWN[1..6].contains(&name.as_str());
        let value = line.trim_ascii_start().get(name.len()..).unwrap_or_default();
        let is_empty =
            value.trim_ascii_start().strip_prefix(b"=").unwrap_or(value).trim_ascii().starts_with(b"''");
        if is_target && !is_empty && !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::postgres::lsn::Lsn;

    fn text(old: &str, target: &Target, exclusive: bool) -> String {
        let fetch: Vec<OsString> =
            ["/usr/bin/kamba-vault", "--repo", "s3://b/it's 100%\\", "--key-file", "/etc/k"]
                .map(Into::into)
                .into();
        let settings = Settings {
            fetch: &fetch,
            partial: exclusive,
            target,
            exclusive,
            timeline: "3".into(),
            action: Action::Promote,
        };
        String::from_utf8(auto_conf(old.as_bytes(), &settings)).unwrap()
    }

    #[test]
    fn the_command_survives_the_file_and_the_shell() {
        insta::assert_snapshot!(text("", &Target::Latest, false), @r#"
        # Recovery settings of kamba-vault restore pitr
        restore_command = '/usr/bin/kamba-vault --repo ''s3://b/it''\\''''s 100%%\\'' --key-file /etc/k wal fetch %f "%p"'
        recovery_target_timeline = '3'
        "#);
    }

    #[test]
    fn what_was_there_stays_but_for_an_earlier_recovery() {
        let old =
            "# x\nwork_mem = '64MB'\n Recovery_Target_Time = '2020-01-01'\nrestore_command='cp'\nport = 5433";
        insta::assert_snapshot!(text(old, &Target::Lsn(Lsn(0x1_0000_0028)), true), @r#"
        # x
        work_mem = '64MB'
        # replaced by kamba-vault:  Recovery_Target_Time = '2020-01-01'
        # replaced by kamba-vault: restore_command='cp'
        port = 5433
        # Recovery settings of kamba-vault restore pitr
        restore_command = '/usr/bin/kamba-vault --repo ''s3://b/it''\\''''s 100%%\\'' --key-file /etc/k wal fetch --partial %f "%p"'
        recovery_target_lsn = '1/28'
        recovery_target_inclusive = 'false'
        recovery_target_action = 'promote'
        recovery_target_timeline = '3'
        "#);
    }

    #[test]
    fn every_target_is_asked_for_in_its_way() {
        let line = |target: Target, name: &str| {
            let text = text("", &target, false);
            assert_eq!(text.contains("recovery_target_inclusive"), target.can_be_exclusive(), "{text}");
            text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
        };
        let time = Target::Time(Timestamp(1_795_312_820_500_000_000));
        assert_eq!(line(time, "recovery_target_time "), "recovery_target_time = '2026-11-22 02:00:20.5+00'");
        let name = Target::Name("it's".into());
        assert_eq!(line(name, "recovery_target_name"), "recovery_target_name = 'it''s'");
        assert_eq!(line(Target::Xid((3 << 32) + 7), "recovery_target_xid"), "recovery_target_xid = '7'");
        assert_eq!(line(Target::Immediate, "recovery_target "), "recovery_target = 'immediate'");
        assert_eq!(line(Target::Latest, "recovery_target_action"), "");
    }

    #[test]
    fn targets_set_elsewhere_are_found() {
        let file = b"#recovery_target_time = ''\nrecovery_target_name = ''\nrecovery_target_lsn '0/1'\nrecovery_target_xid=5\nrecovery_target_timeline=3\n";
        assert_eq!(targets_in(file), ["recovery_target_lsn", "recovery_target_xid"]);
        assert_eq!(setting_name(b"restore_command='x'"), "restore_command");
        assert_eq!(setting_name(b"# restore_command"), "");
    }
}
