//! A tree that changes under the walk: whatever happens in it, the walk ends well and never leaves it.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::scene::{Scene, snapshot};
use crate::support;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }
}

/// One change somewhere; it may fail, since the one before may have removed what it needs.
fn change(top: &Path, dice: &mut Dice) {
    let folder = top.join(format!("d{}", dice.roll(4)));
    let inner = folder.join(format!("e{}", dice.roll(3)));
    let file = inner.join(format!("f{}", dice.roll(5)));
    let _ = match dice.roll(9) {
        0 | 1 => std::fs::create_dir_all(&inner),
        2 | 3 => std::fs::write(&file, support::rows(dice.roll(9), dice.roll(60_000) as usize)),
        4 => std::fs::remove_file(&file),
        5 => std::fs::remove_dir_all(&inner).and_then(|()| symlink("/etc", &inner)),
        6 => std::fs::remove_file(&inner).and_then(|()| std::fs::create_dir(&inner)),
        7 => std::fs::rename(&folder, top.join(format!("d{}", dice.roll(4)))),
        _ => std::fs::rename(&inner, top.join(format!("g{}", dice.roll(3))))
            .and_then(|()| symlink("/etc", &inner)),
    };
}

#[test]
fn a_tree_that_changes_under_the_walk_never_fails_it_and_never_leads_outside() {
    let scene = Scene::new();
    let (top, stop) = (scene.path(), AtomicBool::new(false));
    let mut dice = Dice(42);
    (0..300).for_each(|_| change(&top, &mut dice));
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                change(&top, &mut dice);
            }
        });
        let walked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..25 {
                let made = snapshot(&scene.repo, &scene.request()).0.unwrap();
                for (path, node) in scene.nodes(&made) {
                    let name = path.rsplit(|byte| *byte == b'/').next().unwrap();
                    let ours = name.len() == 2 && matches!(name[0], b'd'..=b'g');
                    assert!(ours, "{} is not of this tree", String::from_utf8_lossy(&path));
                    assert!(node.meta.link_target.is_none_or(|target| target == b"/etc"));
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        changing.join().unwrap();
        walked.unwrap();
    });
    support::assert_clean(&scene.repo);
}
