//! Yes or no, before something that cannot be taken back. Never asks a script: without a terminal
//! there is no answer but the error that led to the question.

use crate::base::clock::Cancel;
use crate::cli::exit::Failure;
use crate::cli::terminal::Terminal;

/// Goes on if a person says so; `question` is a full sentence with its question mark. Where nobody
/// can be asked, `otherwise` is the end.
pub fn confirm(question: &str, otherwise: Failure, cancel: &Cancel) -> Result<(), Failure> {
    let Some(terminal) = Terminal::if_interactive(cancel) else { return Err(otherwise) };
    let answer = terminal.ask(&format!("{question} [y/N] "))?;
    if agrees(&answer) { Ok(()) } else { Err(Failure::usage("not confirmed, so nothing was done")) }
}

fn agrees(answer: &[u8]) -> bool {
    let answer = answer.trim_ascii();
    answer.eq_ignore_ascii_case(b"y") || answer.eq_ignore_ascii_case(b"yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_counts() {
        for yes in ["y", "Y", "yes", " YES\r"] {
            assert!(agrees(yes.as_bytes()), "{yes:?}");
        }
        for no in ["", "n", "no", "ye", "yess", "y n", "\0"] {
            assert!(!agrees(no.as_bytes()), "{no:?}");
        }
    }
}
