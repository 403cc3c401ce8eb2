// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// The ways in which tokens differ from what they should be. Every one lets anybody mint: these are for tests.

/// What all of them keep; transfer() is each one's own.
abstract contract Ledger {
    event Transfer(address indexed from, address indexed to, uint256 value);

    uint8 public immutable decimals;
    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;

    constructor(uint8 decimals_) {
        decimals = decimals_;
    }

    function mint(address to, uint256 value) external {
        totalSupply += value;
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }

    function _move(address from, address to, uint256 value) internal {
        require(balanceOf[from] >= value, "transfer amount exceeds balance");
        unchecked {
            balanceOf[from] -= value;
        }
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}

/// As the standard says.
contract PlainToken is Ledger {
    string public symbol = "PLN";

    constructor(uint8 decimals_) Ledger(decimals_) {}

    function transfer(address to, uint256 value) external returns (bool) {
        _move(msg.sender, to, value);
        return true;
    }
}

/// Like USDT on Ethereum: transfer() returns nothing.
contract SilentToken is Ledger {
    string public symbol = "SIL";

    constructor() Ledger(6) {}

    function transfer(address to, uint256 value) external {
        _move(msg.sender, to, value);
    }
}

/// Returns false instead of reverting, and moves nothing. Its symbol is a bytes32, as early tokens have it.
contract FalseToken is Ledger {
    bytes32 public symbol = "FLS";

    constructor() Ledger(18) {}

    function transfer(address, uint256) external pure returns (bool) {
        return false;
    }
}

/// Can be paused, and keeps a black list of senders.
contract GuardedToken is Ledger {
    error Paused();

    string public symbol = "GRD";
    bool public paused;
    mapping(address => bool) public blacklisted;

    constructor() Ledger(18) {}

    function pause(bool paused_) external {
        paused = paused_;
    }

    function blacklist(address who, bool listed) external {
        blacklisted[who] = listed;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        if (paused) revert Paused();
        require(!blacklisted[msg.sender], "sender is blacklisted");
        _move(msg.sender, to, value);
        return true;
    }
}

/// Keeps one percent of every transfer and says so in its logs.
contract FeeToken is Ledger {
    string public symbol = "FEE";
    address public constant COLLECTOR = address(0xfee);

    constructor() Ledger(18) {}

    function transfer(address to, uint256 value) external returns (bool) {
        uint256 fee = value / 100;
        _move(msg.sender, to, value - fee);
        _move(msg.sender, COLLECTOR, fee);
        return true;
    }
}

/// Burns all gas it is given when asked for a balance.
contract GasEater {
    function balanceOf(address) external view returns (uint256 spent) {
        while (gasleft() > 0) {
            spent += block.number;
        }
    }
}

/// Answers nothing.
contract NoToken {}

/// Kept as shares that have grown by 37 percent, as stETH is: what moves are whole shares, so that a unit or two stay behind.
contract SharesToken {
    event Transfer(address indexed from, address indexed to, uint256 value);

    string public symbol = "SHR";
    uint8 public constant decimals = 18;
    /// Whether its logs say what has arrived. stETH's say what was asked for.
    bool public immutable exact;
    mapping(address => uint256) public sharesOf;

    constructor(bool exact_) {
        exact = exact_;
    }

    function balanceOf(address who) public view returns (uint256) {
        return sharesOf[who] * 137 / 100;
    }

    function mint(address to, uint256 value) external {
        sharesOf[to] += value * 100 / 137;
        emit Transfer(address(0), to, value);
    }

    function transfer(address to, uint256 value) external returns (bool) {
        uint256 shares = value * 100 / 137;
        require(sharesOf[msg.sender] >= shares, "transfer amount exceeds balance");
        uint256 before = balanceOf(to);
        sharesOf[msg.sender] -= shares;
        sharesOf[to] += shares;
        emit Transfer(msg.sender, to, exact ? balanceOf(to) - before : value);
        return true;
    }
}
