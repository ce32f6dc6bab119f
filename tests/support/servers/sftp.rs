//! An SFTP server: OpenSSH's, with keys that nobody else has.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kamba_vault::storage::{Options, Settings};

use super::Server;

/// A running SSH server that lets the present user in.
pub struct Sftp {
    pub server: Server,
}

impl Sftp {
    pub fn start() -> Self {
        // A root's sshd locks unprivileged children up in there and refuses to start without.
        let _ = fs::DirBuilder::new().recursive(true).mode(0o755).create("/run/sshd");
        let server = Server::start(|port, folder| {
            make_key(&folder.join("host_key"));
            make_key(&folder.join("user_key"));
            fs::copy(folder.join("user_key.pub"), folder.join("authorized")).unwrap();
            let host_key = fs::read_to_string(folder.join("host_key.pub")).unwrap();
            fs::write(folder.join("known_hosts"), format!("[127.0.0.1]:{port} {host_key}")).unwrap();
            fs::create_dir(folder.join("root")).unwrap();
            let config = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host_key\nAuthorizedKeysFile {0}/authorized\n\
                 PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n\
                 PasswordAuthentication no\nMaxStartups 100\nSubsystem sftp internal-sftp\nLogLevel ERROR\n",
                folder.display()
            );
            fs::write(folder.join("config"), config).unwrap();
            // It starts itself again for every connection, by its full path.
            let mut command = Command::new("/usr/sbin/sshd");
            command.arg("-D").arg("-e").arg("-f").arg(folder.join("config"));
            command
        });
        Sftp { server }
    }

    /// The folder that is served to tests, on this machine.
    pub fn root(&self) -> PathBuf {
        self.server.folder.path().join("root")
    }

    /// The URL of a folder in it.
    pub fn url(&self, folder: &str) -> String {
        self.url_of(&self.root().join(folder))
    }

    /// The URL of any folder of this machine.
    pub fn url_of(&self, path: &Path) -> String {
        format!("sftp://{}@{}{}", user(), self.server.address, path.display())
    }

    pub fn options(&self) -> Options {
        let mut settings = Settings::new();
        for (key, file) in [("key", "user_key"), ("known_hosts", "known_hosts")] {
            settings.set(key, self.server.folder.path().join(file).to_str().unwrap());
        }
        // Nothing of the machine's own configuration.
        settings.set("config", "/dev/null");
        Options { settings, ..Options::default() }
    }
}

/// Makes a key pair without a passphrase.
pub fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status();
    assert!(made.expect("ssh-keygen is needed").success());
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
