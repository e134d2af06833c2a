// SPDX-License-Identifier: GPL-2.0

//! Writing cpio archives, the kernel's initramfs format ("newc", see the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Written here rather than by the program of that name, so that devices and ownership need no
//! privilege and the same files give the same archive.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// A file in the archive.
enum Node {
    Directory,
    Link(String),
    Device { major: u32, minor: u32 },
    File { content: Content, mode: u32 },
}

enum Content {
    Here(Vec<u8>),
    At(PathBuf),
}

/// An archive to be. Paths are relative to the image's root, without a leading slash; the folders
/// a path needs are added with it.
#[derive(Default)]
pub struct Archive {
    nodes: BTreeMap<String, Node>,
}

impl Archive {
    pub fn directory(&mut self, path: &str) {
        self.add(path, Node::Directory);
    }

    pub fn link(&mut self, path: &str, target: &str) {
        self.add(path, Node::Link(target.to_owned()));
    }

    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.add(path, Node::Device { major, minor });
    }

    /// A file with this content.
    pub fn text(&mut self, path: &str, content: &str) {
        self.bytes(path, content.as_bytes().to_vec());
    }

    /// A file with this content.
    pub fn bytes(&mut self, path: &str, content: Vec<u8>) {
        let content = Content::Here(content);
        self.add(
            path,
            Node::File {
                content,
                mode: 0o644,
            },
        );
    }

    /// A copy of a file. Links are followed; what matters of the mode is whether it can be run.
    pub fn copy(&mut self, path: &str, from: &Path) -> Result<()> {
        let data = fs::metadata(from).with_context(|| format!("taking {}", from.display()))?;
        let mode = if data.permissions().mode() & 0o111 != 0 {
            0o755
        } else {
            0o644
        };
        let content = Content::At(from.to_owned());
        self.add(path, Node::File { content, mode });
        Ok(())
    }

    fn add(&mut self, path: &str, node: Node) {
        for (slash, _) in path.match_indices('/') {
            let parent = path[..slash].to_owned();
            self.nodes.entry(parent).or_insert(Node::Directory);
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// Writes the archive.
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        // The map's order puts a folder before what is in it.
        for (index, (path, node)) in (1..).zip(&self.nodes) {
            let read;
            let (mode, device, content): (u32, (u32, u32), &[u8]) = match node {
                Node::Directory => (DIRECTORY, (0, 0), &[]),
                Node::Link(target) => (LINK, (0, 0), target.as_bytes()),
                Node::Device { major, minor } => (CHARACTER_DEVICE, (*major, *minor), &[]),
                Node::File {
                    content: Content::Here(content),
                    mode,
                } => (FILE | mode, (0, 0), content),
                Node::File {
                    content: Content::At(from),
                    mode,
                } => {
                    read = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
                    (FILE | mode, (0, 0), &read)
                }
            };
            entry(out, index, path, mode, device, content)?;
        }
        entry(out, 0, "TRAILER!!!", 0, (0, 0), &[])
    }
}

fn entry(
    out: &mut impl Write,
    inode: u32,
    path: &str,
    mode: u32,
    device: (u32, u32),
    content: &[u8],
) -> Result<()> {
    let length = |bytes: usize| u32::try_from(bytes).context("a file too large for an initramfs");
    let links = 1;
    let (owner, group, time, checksum) = (0, 0, 0, 0);
    let fields = [
        inode,
        mode,
        owner,
        group,
        links,
        time,
        length(content.len())?,
        0,
        0,
        device.0,
        device.1,
        length(path.len() + 1)?,
        checksum,
    ];
    let mut header = String::from("070701");
    for field in fields {
        header.push_str(&format!("{field:08x}"));
    }
    header.push_str(path);
    header.push('\0');
    out.write_all(header.as_bytes())?;
    pad(out, header.len())?;
    out.write_all(content)?;
    pad(out, content.len())
}

/// Headers and contents start at multiples of four.
fn pad(out: &mut impl Write, written: usize) -> Result<()> {
    let missing = written.wrapping_neg() % 4;
    out.write_all(&[0; 3][..missing])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_parents_come_first() {
        let mut archive = Archive::default();
        archive.text("a/b/c", "12345");
        archive.link("a/link", "b/c");
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let at = |what: &str| text.find(what).unwrap();
        assert!(at("00000000a\0") < at("a/b\0") && at("a/b\0") < at("a/b/c\0"));
        assert!(at("a/b/c\0") < at("12345") && at("12345") < at("a/link\0"));
        assert!(at("a/link\0") < at("TRAILER!!!"));
        for (start, _) in text.match_indices("070701") {
            assert_eq!(start % 4, 0);
        }
    }

    #[test]
    fn the_header_has_the_documented_fields() {
        let mut bytes = Vec::new();
        entry(&mut bytes, 3, "dev/console", CHARACTER_DEVICE, (5, 1), &[]).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(&text[..6], "070701");
        let field = |n: usize| u32::from_str_radix(&text[6 + 8 * n..14 + 8 * n], 16).unwrap();
        assert_eq!((field(0), field(1), field(6)), (3, CHARACTER_DEVICE, 0));
        assert_eq!((field(9), field(10), field(11)), (5, 1, 12));
    }
}
