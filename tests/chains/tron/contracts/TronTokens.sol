// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.0;

/// Contracts for the compiler that TRON publishes (github.com/tronprotocol/solc-bin): it begins functions that take no
/// coins by asking for TRC10 tokens as well (CALLTOKENVALUE, CALLTOKENID), which no other compiler does. The .json files
/// beside this one hold what version 0.8.0+commit.7c2e6412 makes of it, with --optimize --optimize-runs 200
/// --metadata-hash none.

/// USDT on TRON as far as its fee goes: a part of each transfer in 1/10,000, a most, and an owner who sets both.
contract SwitchedFeeToken {
    string public symbol = "USDT";
    uint8 public decimals = 6;
    uint256 public totalSupply;
    address public owner;
    uint256 public basisPointsRate;
    uint256 public maximumFee;
    mapping(address => uint256) public balanceOf;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Params(uint256 feeBasisPoints, uint256 maxFee);

    constructor(uint256 supply) {
        owner = msg.sender;
        totalSupply = supply;
        balanceOf[msg.sender] = supply;
        emit Transfer(address(0), msg.sender, supply);
    }

    function setParams(uint256 newBasisPoints, uint256 newMaxFee) external {
        require(msg.sender == owner, "not the owner");
        basisPointsRate = newBasisPoints;
        maximumFee = newMaxFee;
        emit Params(newBasisPoints, newMaxFee);
    }

    function calcFee(uint256 value) public view returns (uint256) {
        uint256 fee = (value * basisPointsRate) / 10000;
        return fee > maximumFee ? maximumFee : fee;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        uint256 fee = calcFee(value);
        move(to, value - fee);
        if (fee > 0) move(owner, fee);
        return true;
    }

    function move(address to, uint256 value) private {
        require(balanceOf[msg.sender] >= value, "balance is too low");
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
        emit Transfer(msg.sender, to, value);
    }
}

/// Takes its fee from what the sender keeps: the whole amount arrives, and more leaves.
contract FeeOnTopToken {
    string public symbol = "TOP";
    uint8 public decimals = 6;
    address public owner;
    mapping(address => uint256) public balanceOf;

    event Transfer(address indexed from, address indexed to, uint256 value);

    constructor(uint256 supply) {
        owner = msg.sender;
        balanceOf[msg.sender] = supply;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        move(to, value);
        if (balanceOf[msg.sender] > 0) move(owner, balanceOf[msg.sender] / 2);
        return true;
    }

    function move(address to, uint256 value) private {
        require(balanceOf[msg.sender] >= value, "balance is too low");
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
        emit Transfer(msg.sender, to, value);
    }
}

/// Moves tokens and tells nobody.
contract MuteToken {
    string public symbol = "MUT";
    uint8 public decimals = 6;
    mapping(address => uint256) public balanceOf;

    constructor(uint256 supply) {
        balanceOf[msg.sender] = supply;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        require(balanceOf[msg.sender] >= value, "balance is too low");
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
        return true;
    }
}

/// Refuses TRC10 tokens in its constructor as well, keeps what it was given, and is made by Maker.
contract Kept {
    uint256 public immutable given;
    string public said;

    constructor(uint256 given_, string memory said_) {
        given = given_;
        said = said_;
    }
}

/// A contract that makes others.
contract Maker {
    Kept public made;

    function make(uint256 given) external returns (address) {
        made = new Kept(given, "by a contract");
        return address(made);
    }
}
