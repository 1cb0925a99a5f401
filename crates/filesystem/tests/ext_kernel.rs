//! ext2, ext3 and ext4 images made by `mke2fs` and filled through the kernel, read here, and
//! compared with what the kernel shows of them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that tests share"
)]

mod common;

use std::path::{Path, PathBuf};

use common::fill::{Amount, fill};
use common::{Mount, assert_same_as_kernel, blank, run};

const PACKAGE: &str = "e2fsprogs";

/// Makes a file system of `megabytes` in `dir`.
fn mke2fs(dir: &Path, megabytes: u64, arguments: &[&str]) -> PathBuf {
    let path = blank(dir, "image", megabytes << 20);
    let name = path.to_str().unwrap();
    let all = [&["-F", "-q"], arguments, &[name]].concat();
    run("mke2fs", PACKAGE, &all);
    path
}

/// What fits a file system with blocks of `block` bytes.
fn amount(block: usize) -> Amount {
    Amount {
        names: 5000,
        block,
        target: 1000,
        fragments: 2500,
        far: 72 << 20,
    }
}

/// Makes, fills and compares one file system.
fn check(block: usize, arguments: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let size = block.to_string();
    let arguments = [&["-b", &size], arguments].concat();
    let path = mke2fs(dir.path(), 128, &arguments);
    {
        let mount = Mount::new(&path, "rw");
        fill(mount.path(), amount(block));
    }
    assert_same_as_kernel(&path);
}

#[test]
fn ext2_with_each_block_size_reads_as_the_kernel_reads_it() {
    for block in [1024, 2048, 4096] {
        check(block, &["-t", "ext2"]);
    }
}

#[test]
fn ext2_of_the_first_revision_reads_as_the_kernel_reads_it() {
    check(1024, &["-t", "ext2", "-r", "0", "-O", "none"]);
    check(1024, &["-t", "ext2", "-O", "^filetype", "-I", "128"]);
}

#[test]
fn ext3_with_each_block_size_reads_as_the_kernel_reads_it() {
    for block in [1024, 2048, 4096] {
        check(block, &["-t", "ext3", "-I", "128"]);
    }
    check(1024, &["-t", "ext3", "-O", "^dir_index", "-I", "256"]);
}

#[test]
fn ext4_with_each_block_size_reads_as_the_kernel_reads_it() {
    for block in [1024, 2048, 4096] {
        check(block, &["-t", "ext4", "-O", "metadata_csum,64bit"]);
    }
}

#[test]
fn ext4_as_it_was_in_2014_reads_as_the_kernel_reads_it() {
    let then = "^metadata_csum,^64bit,^metadata_csum_seed,^orphan_file,uninit_bg";
    check(4096, &["-t", "ext4", "-O", then]);
    check(1024, &["-t", "ext4", "-O", then, "-I", "128"]);
    let wide = "^metadata_csum,^metadata_csum_seed,^orphan_file,uninit_bg,64bit";
    check(2048, &["-t", "ext4", "-O", wide]);
}

#[test]
fn ext4_with_inline_data_reads_as_the_kernel_reads_it() {
    check(4096, &["-t", "ext4", "-O", "inline_data"]);
    check(1024, &["-t", "ext4", "-O", "inline_data", "-I", "512"]);
    check(
        4096,
        &[
            "-t",
            "ext4",
            "-O",
            "inline_data,^metadata_csum",
            "-I",
            "1024",
        ],
    );
}

#[test]
fn ext4_with_other_group_layouts_reads_as_the_kernel_reads_it() {
    check(4096, &["-t", "ext4", "-O", "bigalloc", "-C", "65536"]);
    check(1024, &["-t", "ext4", "-O", "bigalloc", "-C", "8192"]);
    check(1024, &["-t", "ext4", "-O", "^flex_bg", "-g", "1024"]);
    let meta = "meta_bg,^resize_inode";
    check(1024, &["-t", "ext4", "-O", meta, "-g", "1024"]);
    check(4096, &["-t", "ext4", "-O", meta, "-g", "1024"]);
    check(
        4096,
        &[
            "-t",
            "ext4",
            "-O",
            "sparse_super2,^resize_inode",
            "-g",
            "2048",
        ],
    );
    check(1024, &["-t", "ext2", "-O", "^sparse_super,^resize_inode"]);
}

#[test]
fn ext4_with_features_that_matter_little_reads_as_the_kernel_reads_it() {
    check(
        4096,
        &[
            "-t",
            "ext4",
            "-O",
            "^has_journal,large_dir,ea_inode,metadata_csum_seed",
        ],
    );
    check(
        4096,
        &[
            "-t",
            "ext4",
            "-O",
            "orphan_file,fast_commit,mmp",
            "-I",
            "512",
        ],
    );
    check(4096, &["-t", "ext4", "-O", "^extent,^64bit"]);
    check(
        1024,
        &["-t", "ext4", "-O", "^dir_index,^huge_file,^dir_nlink"],
    );
}
