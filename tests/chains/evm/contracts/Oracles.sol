// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// Stands where rollups have theirs, and says what a test tells it. Anybody may set it.
contract L1FeeOracle {
    uint256 public l1Fee;
    uint256 public perByte;
    uint256 public operatorScalar;
    uint256 public operatorConstant;

    function set(uint256 l1Fee_, uint256 perByte_, uint256 operatorScalar_, uint256 operatorConstant_) external {
        l1Fee = l1Fee_;
        perByte = perByte_;
        operatorScalar = operatorScalar_;
        operatorConstant = operatorConstant_;
    }

    /// Of an unsigned transaction; 68 bytes are reckoned for the signature.
    function getL1Fee(bytes calldata data) external view returns (uint256) {
        return l1Fee + perByte * (data.length + 68);
    }

    /// By the formula of Isthmus.
    function getOperatorFee(uint256 gasUsed) external view returns (uint256) {
        return gasUsed * operatorScalar / 1e6 + operatorConstant;
    }
}

/// One from before Isthmus: it knows no operator fee.
contract OldL1FeeOracle {
    function getL1Fee(bytes calldata data) external pure returns (uint256) {
        return data.length;
    }
}
