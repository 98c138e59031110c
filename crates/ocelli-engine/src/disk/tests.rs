//! What stays on disk, what goes, and what is never believed.

use super::*;
use ocelli_image::Grid;

/// A folder that goes when the test ends.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("ocelli-image-cache-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn folder(&self, budget: u64) -> Folder {
        let folder = Folder {
            path: self.0.clone(),
            budget,
            number: 0,
        };
        folder.make().unwrap();
        folder
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn features(value: f32) -> ImageFeatures {
    ImageFeatures {
        grid: Grid {
            t: 1,
            h: 2,
            w: 2,
            merge: 2,
            tiles: None,
        },
        width: 4,
        rows: vec![value; 4],
        deepstack: Vec::new(),
    }
}

#[test]
fn an_entry_outlives_the_process_and_a_damaged_one_is_a_miss_once() {
    let place = Place::new("outlives");
    let mut folder = place.folder(1 << 20);
    folder.write(&[1; 32], &features(1.0)).unwrap();
    let again = place.folder(1 << 20);
    assert_eq!(again.read(&[1; 32]), Some(features(1.0)));
    assert_eq!(again.read(&[2; 32]), None);
    let path = again.place(&[1; 32]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[70] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(again.read(&[1; 32]), None);
    assert!(!path.exists(), "a damaged entry makes room");
}

#[test]
fn the_budget_holds_and_the_entry_used_longest_ago_goes_first() {
    let place = Place::new("budget");
    let size = entry::size(&features(0.0)) as u64;
    let mut folder = place.folder(2 * size);
    for (key, age) in [(1, 300), (2, 200)] {
        folder.write(&[key; 32], &features(1.0)).unwrap();
        let file = File::options().write(true).open(folder.place(&[key; 32]));
        let then = SystemTime::now() - Duration::from_secs(age);
        file.unwrap().set_modified(then).unwrap();
    }
    assert!(folder.read(&[1; 32]).is_some(), "used now");
    folder.write(&[3; 32], &features(1.0)).unwrap();
    assert_eq!(folder.read(&[2; 32]), None);
    assert!(folder.read(&[1; 32]).is_some() && folder.read(&[3; 32]).is_some());
    let total: u64 = folder.files(ENDING).iter().map(|(_, size, _)| size).sum();
    assert_eq!(total, 2 * size);
}

#[test]
fn what_a_dead_writer_left_is_removed_after_a_while_only() {
    let place = Place::new("dead");
    let folder = place.folder(1 << 20);
    let left = place.0.join(format!("7.1.{WRITING}"));
    fs::write(&left, b"half").unwrap();
    folder.clean(SystemTime::now());
    assert!(left.exists(), "its writer may still be at work");
    folder.clean(SystemTime::now() + 2 * ABANDONED);
    assert!(!left.exists());
}

#[test]
fn a_folder_keeps_its_secret_and_another_has_another() {
    let (a, b) = (Place::new("secret-a"), Place::new("secret-b"));
    let secret = a.folder(1).secret().unwrap();
    assert_eq!(a.folder(1).secret().unwrap(), secret);
    assert_ne!(b.folder(1).secret().unwrap(), secret);
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(a.0.join(SECRET)).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn lookups_are_answered_by_the_thread() {
    let place = Place::new("thread");
    let cache = ImageCache::open(&place.0, 1 << 20, [0; 32]).unwrap();
    cache.keep([1; 32], Arc::new(features(2.0)));
    assert!(cache.find([1; 32]) && cache.find([2; 32]));
    let time = Duration::from_secs(60);
    assert_eq!(cache.found(time), Some(([1; 32], Some(features(2.0)))));
    assert_eq!(cache.found(time), Some(([2; 32], None)));
}
