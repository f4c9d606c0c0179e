//! The tree against the recursion of the RFC, and against the crate `ct-merkle`.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use keyferry_tlog::*;
use proptest::prelude::*;
use sha2::Sha256;

use crate::vectors::Leaves;

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

/// Largest power of two below `n`.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// MTH, RFC 9162, 2.1.1, over leaf hashes.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

/// PATH, RFC 9162, 2.1.3.1.
fn naive_path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    if m < k {
        [naive_path(m, left), vec![naive_root(right)]].concat()
    } else {
        [naive_path(m - k, right), vec![naive_root(left)]].concat()
    }
}

/// SUBPROOF, RFC 9162, 2.1.4.1.
fn naive_subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    if m <= k {
        [naive_subproof(m, left, whole), vec![naive_root(right)]].concat()
    } else {
        [naive_subproof(m - k, right, false), vec![naive_root(left)]].concat()
    }
}

#[test]
fn frontier_gives_the_root_of_the_rfc_at_every_size() {
    let leaves = leaves(300);
    let mut frontier = Frontier::new();
    for size in 0..=leaves.len() {
        assert_eq!(frontier.root(), naive_root(&leaves[..size]));
        assert_eq!(frontier.nodes().len(), size.count_ones() as usize);
        let same = frontier_at(&Leaves(leaves.clone()), frontier.size()).expect("infallible");
        assert_eq!(same, frontier);
        leaves.get(size).into_iter().for_each(|leaf| frontier.push(*leaf));
    }
}

#[test]
fn frontier_of_a_wrong_number_of_nodes_is_refused() {
    assert!(Frontier::from_nodes(0, vec![]).is_ok());
    assert!(Frontier::from_nodes(6, vec![[1; 32]; 2]).is_ok());
    assert_eq!(
        Frontier::from_nodes(6, vec![[1; 32]; 3]),
        Err(FrontierError { size: 6, wanted: 2, found: 3 })
    );
    assert!(Frontier::from_nodes(6, vec![[1; 32]]).is_err());
}

#[test]
fn all_proofs_up_to_size_40_are_those_of_the_rfc() {
    let leaves = leaves(40);
    let nodes = Leaves(leaves.clone());
    for size in 1..=40usize {
        let root = naive_root(&leaves[..size]);
        for (index, leaf) in leaves[..size].iter().enumerate() {
            let proof = inclusion_proof(&nodes, index as u64, size as u64).expect("in range");
            assert_eq!(proof, naive_path(index, &leaves[..size]));
            assert_eq!(verify_inclusion(leaf, index as u64, size as u64, &proof, &root), Ok(()));
        }
        for old in 1..=size {
            let proof = consistency_proof(&nodes, old as u64, size as u64).expect("in range");
            assert_eq!(proof, naive_subproof(old, &leaves[..size], true));
            let old_root = naive_root(&leaves[..old]);
            assert_eq!(verify_consistency(old as u64, &old_root, size as u64, &root, &proof), Ok(()));
        }
    }
}

#[test]
fn a_right_proof_is_refused_for_another_root_or_leaf() {
    let nodes = Leaves(leaves(20));
    let root = |size| root_at(&nodes, size).expect("infallible");
    for size in 1..=20u64 {
        for at in 0..size {
            let proof = inclusion_proof(&nodes, at, size).expect("in range");
            let leaf = nodes.0[at as usize];
            assert_eq!(verify_inclusion(&leaf, at, size, &proof, &[0; 32]), Err(ProofError::Root));
            assert_eq!(verify_inclusion(&[0; 32], at, size, &proof, &root(size)), Err(ProofError::Root));
            let old = at + 1;
            let proof = consistency_proof(&nodes, old, size).expect("in range");
            let verify = |old_root, new_root| verify_consistency(old, &old_root, size, &new_root, &proof);
            assert_eq!(verify([0; 32], root(size)), Err(ProofError::Root));
            assert_eq!(verify(root(old), [0; 32]), Err(ProofError::Root));
        }
    }
}

#[test]
fn impossible_sizes_have_no_proof() {
    let nodes = Leaves(leaves(4));
    assert_eq!(inclusion_proof(&nodes, 4, 4), Err(ProveError::Sizes));
    assert_eq!(inclusion_proof(&nodes, 0, 0), Err(ProveError::Sizes));
    assert_eq!(consistency_proof(&nodes, 0, 4), Err(ProveError::Sizes));
    assert_eq!(consistency_proof(&nodes, 3, 2), Err(ProveError::Sizes));
    let root = naive_root(&nodes.0);
    assert_eq!(verify_consistency(0, &empty_root(), 4, &root, &[]), Err(ProofError::Sizes));
    assert_eq!(verify_consistency(4, &root, 3, &root, &[]), Err(ProofError::Sizes));
    assert_eq!(verify_inclusion(&root, u64::MAX, u64::MAX, &[], &root), Err(ProofError::Sizes));
    assert_eq!(root_at(&nodes, 0), Ok(empty_root()));
}

#[test]
fn proofs_at_the_largest_sizes_end_with_a_verdict() {
    let proof = vec![[7; 32]; 64];
    for size in [1 << 63, u64::MAX - 1, u64::MAX] {
        for index in [0, 1, size / 2, size - 1] {
            assert!(verify_inclusion(&[7; 32], index, size, &proof, &[7; 32]).is_err());
        }
        for old in [1, 2, size / 2, size - 1] {
            assert!(verify_consistency(old, &[7; 32], size, &[7; 32], &proof).is_err());
        }
    }
}

proptest! {
    #[test]
    fn proofs_agree_with_an_independent_crate(size in 1usize..200, at in any::<prop::sample::Index>()) {
        let entries: Vec<Vec<u8>> = (0..size).map(|i| i.to_be_bytes().to_vec()).collect();
        let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        entries.iter().for_each(|entry| theirs.push(entry.clone()));
        let nodes = Leaves(entries.iter().map(|entry| leaf_hash(entry)).collect());
        let root = root_at(&nodes, size as u64).expect("infallible");
        prop_assert_eq!(theirs.root().as_bytes().to_vec(), root.to_vec());
        let index = at.index(size);
        let ours = inclusion_proof(&nodes, index as u64, size as u64).expect("in range");
        prop_assert_eq!(theirs.prove_inclusion(index).as_bytes().to_vec(), ours.concat());
        let ours = consistency_proof(&nodes, index as u64 + 1, size as u64).expect("in range");
        prop_assert_eq!(theirs.prove_consistency(size - index - 1).as_bytes().to_vec(), ours.concat());
    }

    #[test]
    fn a_damaged_proof_is_refused(size in 2u64..200, at in any::<prop::sample::Index>(), bit in 0usize..256, cut in any::<bool>()) {
        let nodes = Leaves(leaves(size));
        let root = root_at(&nodes, size).expect("infallible");
        let index = at.index(size as usize) as u64;
        let mut proof = inclusion_proof(&nodes, index, size).expect("in range");
        damage(&mut proof, at.index(64), bit, cut);
        prop_assert!(verify_inclusion(&nodes.0[index as usize], index, size, &proof, &root).is_err());
        let old = index.max(1);
        let old_root = root_at(&nodes, old).expect("infallible");
        let mut proof = consistency_proof(&nodes, old, size).expect("in range");
        damage(&mut proof, at.index(64), bit, cut);
        prop_assert!(verify_consistency(old, &old_root, size, &root, &proof).is_err());
    }
}

/// Cuts the last hash off, or turns one bit over, or adds a hash when there is none to damage.
fn damage(proof: &mut Vec<Hash>, at: usize, bit: usize, cut: bool) {
    let len = proof.len();
    if len == 0 {
        proof.push([0; 32]);
    } else if cut {
        proof.pop();
    } else {
        proof[at % len][bit / 8] ^= 1 << (bit % 8);
    }
}
