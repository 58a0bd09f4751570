//! A singly linked first-in first-out list through the items' own `next`. No allocation.

const std = @import("std");
const assert = std.debug.assert;

pub fn List(comptime Item: type) type {
    return struct {
        const Self = @This();

        head: ?*Item = null,
        tail: ?*Item = null,
        count: u32 = 0,

        pub fn push(list: *Self, item: *Item) void {
            assert(item.next == null);
            assert(list.tail != item);
            if (list.tail) |tail| tail.next = item else list.head = item;
            list.tail = item;
            list.count += 1;
        }

        pub fn pushFront(list: *Self, item: *Item) void {
            assert(item.next == null);
            assert(list.tail != item);
            item.next = list.head;
            list.head = item;
            if (list.tail == null) list.tail = item;
            list.count += 1;
        }

        pub fn pop(list: *Self) ?*Item {
            const item = list.head orelse return null;
            list.head = item.next;
            if (list.head == null) list.tail = null;
            item.next = null;
            list.count -= 1;
            return item;
        }

        pub fn peek(list: *const Self) ?*Item {
            return list.head;
        }

        /// Linear: only for rare operations such as cancellation.
        pub fn remove(list: *Self, item: *Item) bool {
            var before: ?*Item = null;
            var current = list.head;
            while (current) |candidate| : ({
                before = candidate;
                current = candidate.next;
            }) {
                if (candidate != item) continue;
                if (before) |previous| previous.next = item.next else list.head = item.next;
                if (list.tail == item) list.tail = before;
                item.next = null;
                list.count -= 1;
                return true;
            }
            return false;
        }
    };
}

test "order is kept, both ends work, anything can be removed" {
    const Item = struct { next: ?*@This() = null };
    var items: [4]Item = @splat(.{});
    var list: List(Item) = .{};
    list.push(&items[1]);
    list.push(&items[2]);
    list.pushFront(&items[0]);
    list.push(&items[3]);
    try std.testing.expect(list.remove(&items[3]));
    try std.testing.expect(!list.remove(&items[3]));
    try std.testing.expect(list.remove(&items[1]));
    try std.testing.expectEqual(@as(?*Item, &items[0]), list.pop());
    try std.testing.expectEqual(@as(?*Item, &items[2]), list.pop());
    try std.testing.expectEqual(@as(?*Item, null), list.pop());
    try std.testing.expectEqual(@as(u32, 0), list.count);
    list.push(&items[3]);
    try std.testing.expectEqual(@as(?*Item, &items[3]), list.peek());
}
