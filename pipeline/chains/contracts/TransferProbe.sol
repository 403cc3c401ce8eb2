// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// Tries a token transfer and says what arrived. Never deployed: its code stands in for the sender's in one simulated
/// call (a state override), so that the token sees the real sender.
///
/// Call data: token, receiver (20 bytes each), amount (32 bytes). A failed transfer reverts with the token's own words.
/// Returns four words: the receiver's balance before and after, the length of what transfer() returned, its first word.
contract TransferProbe {
    fallback() external payable {
        assembly {
            let token := shr(96, calldataload(0))
            let receiver := shr(96, calldataload(20))
            let amount := calldataload(40)

            function balanceOf(t, owner) -> held {
                mstore(0, shl(224, 0x70a08231)) // balanceOf(address)
                mstore(4, owner)
                mstore(64, 0)
                if iszero(staticcall(gas(), t, 0, 36, 64, 32)) { revert(0, 0) }
                held := mload(64)
            }

            let before := balanceOf(token, receiver)
            mstore(0, shl(224, 0xa9059cbb)) // transfer(address,uint256)
            mstore(4, receiver)
            mstore(36, amount)
            let done := call(gas(), token, 0, 0, 68, 0, 0)
            let size := returndatasize()
            if iszero(done) {
                returndatacopy(0, 0, size)
                revert(0, size)
            }
            let word := 0
            if gt(size, 31) {
                returndatacopy(0, 0, 32)
                word := mload(0)
            }
            let later := balanceOf(token, receiver)
            mstore(0, before)
            mstore(32, later)
            mstore(64, size)
            mstore(96, word)
            return(0, 128)
        }
    }
}
