// The types of the public API, as promised in docs/. `tsc` does the checking (npm run types); run by
// `bun test` this only shows that nothing is missing at run time.

import { expect, expectTypeOf, test } from "bun:test";
import type { Stats } from "node:fs";
import * as declared from "../../src/api.ts";
import * as api from "../../src/index.ts";

/** What its objects have. */
function methods({ prototype }: { readonly prototype: object }): string[] {
  return Object.getOwnPropertyNames(prototype);
}

test("values, and the types of arguments", () => {
  expect(Object.keys(api).sort()).toEqual([
    ...["BlockDevice", "BufferPool", "File", "FileHandle", "IoError", "RescueMap"],
    ...["Ring", "allocBuffer", "compare", "copy", "copyToAll", "listBlockDevices", "open", "scan"],
    "watchBlockDevices",
  ]);
  // What programs load is what editors and the reference say.
  expect(Object.keys(declared).sort()).toEqual(Object.keys(api).sort());
  expectTypeOf(api).toExtend<typeof declared>();
  expectTypeOf(declared).toExtend<typeof api>();
  expectTypeOf<api.Offset>().toEqualTypeOf<number | bigint>();
  expectTypeOf<api.IoData>().toEqualTypeOf<ArrayBufferView | ArrayBuffer | SharedArrayBuffer>();
  expectTypeOf<api.Bytes>().toEqualTypeOf<Uint8Array<ArrayBuffer>>();
  expectTypeOf<api.IoOptions>().toEqualTypeOf<{
    signal?: AbortSignal | undefined;
    timeout?: number | undefined;
  }>();
  expectTypeOf<api.BackendName>().toEqualTypeOf<
    "io_uring" | "posix_aio" | "threads" | "simulated"
  >();
  expectTypeOf<api.HashName>().toEqualTypeOf<Bun.SupportedCryptoAlgorithms>();
  expectTypeOf<api.ByteRange>().toEqualTypeOf<{
    readonly offset: number;
    readonly length: number;
  }>();
  expectTypeOf<api.FileKind>().toEqualTypeOf<"regular" | "disk" | "character" | "other">();
});

test("File", () => {
  expectTypeOf<Parameters<typeof api.File.open>[0]>().toEqualTypeOf<string | URL | Uint8Array>();
  expectTypeOf(api.File.open).returns.toEqualTypeOf<Promise<api.File>>();
  expectTypeOf(api.File.fromFd).returns.toEqualTypeOf<Promise<api.File>>();
  expectTypeOf<api.File>().toExtend<AsyncDisposable>();
  type File = api.File;
  expectTypeOf<File["fd"]>().toEqualTypeOf<number>();
  expectTypeOf<File["path"]>().toEqualTypeOf<string | undefined>();
  expectTypeOf<File["ring"]>().toEqualTypeOf<api.Ring>();
  expectTypeOf<File["kind"]>().toEqualTypeOf<api.FileKind>();
  expectTypeOf<File["alignment"]>().toEqualTypeOf<api.Alignment>();
  type Transfer<R> = (data: api.IoData, offset: api.Offset, options?: api.IoOptions) => Promise<R>;
  expectTypeOf<File["readAt"]>().toEqualTypeOf<Transfer<number>>();
  expectTypeOf<File["readExactAt"]>().toEqualTypeOf<Transfer<void>>();
  expectTypeOf<File["writeAt"]>().toEqualTypeOf<Transfer<number>>();
  type Vector = (
    data: readonly api.IoData[],
    offset: api.Offset,
    options?: api.IoOptions,
  ) => Promise<number>;
  expectTypeOf<File["readvAt"]>().toEqualTypeOf<Vector>();
  expectTypeOf<File["writevAt"]>().toEqualTypeOf<Vector>();
  expectTypeOf<File["syncAll"]>().toEqualTypeOf<(options?: api.IoOptions) => Promise<void>>();
  expectTypeOf<File["syncData"]>().toEqualTypeOf<(options?: api.IoOptions) => Promise<void>>();
  expectTypeOf<File["size"]>().toEqualTypeOf<() => Promise<number>>();
  expectTypeOf<File["stat"]>().toEqualTypeOf<() => Promise<Stats>>();
  expectTypeOf<File["bytes"]>().toEqualTypeOf<
    (start?: api.Offset, end?: api.Offset, options?: api.IoOptions) => Promise<api.Bytes>
  >();
  expectTypeOf<File["hash"]>().returns.toEqualTypeOf<Promise<string>>();
  expectTypeOf<Parameters<File["hash"]>[0]>().toEqualTypeOf<api.HashName>();
  expectTypeOf<File["dataRanges"]>().returns.toEqualTypeOf<AsyncIterable<api.ByteRange>>();
  expectTypeOf<File["close"]>().toEqualTypeOf<() => Promise<void>>();
  expectTypeOf<ReturnType<File["readable"]>>().toEqualTypeOf<ReadableStream<api.Bytes>>();
  expectTypeOf<ReturnType<File["writable"]>>().toEqualTypeOf<WritableStream<api.IoData>>();
  const transfers = ["readAt", "readExactAt", "readvAt", "writeAt", "writevAt"];
  const others = [
    "bytes",
    "close",
    "dataRanges",
    "hash",
    "readable",
    "size",
    "stat",
    "syncAll",
    "syncData",
    "writable",
  ];
  expect(methods(api.File)).toEqual(expect.arrayContaining([...transfers, ...others]));
});

test("BlockDevice", () => {
  expectTypeOf<api.BlockDevice>().toExtend<api.File>();
  expectTypeOf(api.BlockDevice.open).returns.toEqualTypeOf<Promise<api.BlockDevice>>();
  expectTypeOf<api.BlockDevice["geometry"]>().toEqualTypeOf<api.Geometry>();
  expectTypeOf(api.listBlockDevices).returns.toEqualTypeOf<Promise<api.BlockDeviceInfo[]>>();
  expectTypeOf<ReturnType<typeof api.watchBlockDevices>>().toExtend<
    AsyncIterable<{ type: "add" | "remove" | "change"; device: api.BlockDeviceInfo }>
  >();
  expectTypeOf<api.BlockDeviceOptions["unmount"]>().toEqualTypeOf<boolean | undefined>();
  expect(methods(api.BlockDevice)).toContain("geometry");
});

test("compare", () => {
  expectTypeOf<Parameters<typeof api.compare>[0]>().toEqualTypeOf<
    api.File | ReadableStream<Uint8Array>
  >();
  expectTypeOf<Awaited<ReturnType<typeof api.compare>>>().toExtend<{
    identical: boolean;
    bytesCompared: number;
    firstDifference: number | undefined;
    differences: api.ByteRange[];
    digest: string | undefined;
    durationMs: number;
  }>();
  expect(api.compare.length).toBe(2);
});

test("buffers", () => {
  expectTypeOf(api.allocBuffer).returns.toEqualTypeOf<api.Bytes>();
  expectTypeOf<ReturnType<api.BufferPool["acquire"]>>().toEqualTypeOf<
    Promise<api.Bytes & Disposable>
  >();
  expectTypeOf<api.BufferPool>().toExtend<Disposable>();
  expect(methods(api.BufferPool)).toContain("acquire");
});

test("Ring", () => {
  expectTypeOf(api.Ring.default).returns.toEqualTypeOf<api.Ring>();
  expectTypeOf(api.Ring.open).returns.toEqualTypeOf<api.Ring>();
  expectTypeOf<api.Ring>().toExtend<AsyncDisposable>();
  expectTypeOf<ReturnType<api.Ring["batch"]>>().toEqualTypeOf<
    Promise<PromiseSettledResult<number>[]>
  >();
  expectTypeOf<ReturnType<api.Ring["stats"]>>().toEqualTypeOf<api.RingStats>();
  expect(methods(api.Ring)).toEqual(expect.arrayContaining(["batch", "close", "stats"]));
});

test("IoError", () => {
  expectTypeOf<api.IoError>().toExtend<Error>();
  expectTypeOf<api.IoError["code"]>().toEqualTypeOf<api.IoErrorCode>();
  expectTypeOf<string>().toExtend<api.IoErrorCode>();
  // Editors complete the members; `string` itself would swallow them.
  expectTypeOf<Extract<api.IoErrorCode, "EIO" | "ENOSPC" | "ERR_VERIFY">>().toEqualTypeOf<
    "EIO" | "ENOSPC" | "ERR_VERIFY"
  >();
  expectTypeOf<api.IoError["errno"]>().toEqualTypeOf<number | undefined>();
  expectTypeOf<api.IoError["offset"]>().toEqualTypeOf<number | bigint | undefined>();
  expectTypeOf<api.IoError["transferred"]>().toEqualTypeOf<number | undefined>();
  expect(api.IoError.prototype).toBeInstanceOf(Error);
});
