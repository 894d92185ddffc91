// Types for Brokkr functions in TypeScript or checked JavaScript. docs/functions.md has the words.
//
//   /// <reference path="brokkr.d.ts" />
//   const handler: Brokkr.Module = { async message(msg, env, ctx) { … } };
//   export default handler;
//
// The expression form uses the globals below, or `this`, and blocks:
//
//   (subject: string, payload: Uint8Array) => kv("jokes").get("one").text()

declare namespace Brokkr {
  /** What may be stored or sent: text is UTF-8, a plain value its JSON. */
  type Payload = string | ArrayBufferView | ArrayBuffer | object | number | boolean | null | undefined;

  /** Thrown by every host service that fails. Codes are those of HTTP: 404 not there, 403 not allowed, … */
  interface HostError extends Error {
    code: number;
  }

  interface Bytes extends Uint8Array {
    readonly data: Uint8Array;
    text(): string;
    json(): any;
  }

  type HeadersInit = Record<string, string | string[]> | Iterable<[string, string | string[]]>;
  interface MessageHeaders extends Iterable<[string, string]> {
    get(name: string): string | undefined;
    getAll(name: string): string[];
    has(name: string): boolean;
    readonly size: number;
    keys(): Iterable<string>;
    values(): Iterable<string>;
    entries(): Iterable<[string, string]>;
    forEach(callback: (value: string, name: string, headers: MessageHeaders) => void): void;
  }

  interface Reply extends Bytes {
    readonly headers: MessageHeaders;
  }
  interface MessageOptions {
    headers?: HeadersInit;
  }
  interface PublishOptions extends MessageOptions {
    reply?: string;
  }
  interface RequestOptions extends MessageOptions {
    /** Milliseconds. */
    timeout?: number;
  }
  interface RequestManyOptions extends RequestOptions {
    max?: number;
  }

  interface Value extends Bytes {
    readonly revision: number;
    readonly created: Date;
    readonly operation: "PUT" | "DEL" | "PURGE";
  }
  interface Entry {
    key: string;
    value: Value;
    revision: number;
    created: Date;
    operation: "PUT" | "DEL" | "PURGE";
  }
  interface RevisionOption {
    revision?: number;
  }
  interface KeysOptions {
    filter?: string;
    limit?: number;
  }

  interface ObjectInfo {
    name: string;
    description?: string;
    headers?: Record<string, string[]>;
    bucket: string;
    nuid: string;
    size: number;
    chunks: number;
    digest?: string;
    mtime: string;
    options?: { max_chunk_size?: number };
  }
  interface ObjectBytes extends Bytes {
    readonly info: ObjectInfo;
  }
  interface ObjectOptions {
    description?: string;
    headers?: HeadersInit;
  }

  interface HttpOptions {
    headers?: Headers | HeadersInit;
    query?: string | URLSearchParams | Record<string, string | number | boolean | (string | number | boolean)[]>;
    /** Milliseconds. */
    timeout?: number;
    redirect?: "follow" | "manual" | "error";
  }
  interface HttpRequest extends HttpOptions {
    method?: string;
    body?: Payload | URLSearchParams;
  }
  interface HttpBody extends Bytes {
    toString(): string;
    toJSON(): string;
  }
  interface HttpResponse {
    readonly status: number;
    readonly statusText: string;
    readonly ok: boolean;
    readonly url: string;
    readonly redirected: boolean;
    /** By name as "Content-Type"; several values are joined with ", ". */
    readonly headers: Record<string, string> & { get(name: string): string | null };
    readonly response: HttpBody;
    readonly body: HttpBody;
    bytes(): Uint8Array;
    text(): string;
    json(): any;
  }

  /** A service's results as they are (`this.kv`), or as promises (`env.kv`). */
  type Sync = { readonly kind: "sync" };
  type Async = { readonly kind: "async" };
  type Result<K, T> = K extends Async ? Promise<T> : T;

  interface Messaging<K> {
    publish(subject: string, payload: Payload, options?: PublishOptions): Result<K, void>;
    request(subject: string, payload?: Payload, options?: RequestOptions | number): Result<K, Reply>;
    requestMany(subject: string, payload?: Payload, options?: RequestManyOptions | number): Result<K, Reply[]>;
  }

  interface KeyValue<K> {
    get(key: string, options?: RevisionOption): Result<K, Value>;
    get<D>(key: string, options: RevisionOption & { default: D }): Result<K, Value | D>;
    entry(key: string, options?: RevisionOption): Result<K, Entry | null>;
    set(key: string, value: Payload): Result<K, void>;
    put(key: string, value: Payload): Result<K, number>;
    create(key: string, value: Payload): Result<K, number>;
    update(key: string, value: Payload, revision: number): Result<K, number>;
    delete(key: string, options?: RevisionOption): Result<K, void>;
    del(key: string, options?: RevisionOption): Result<K, void>;
    purge(key: string, options?: RevisionOption): Result<K, void>;
    keys(filter?: string | KeysOptions, options?: KeysOptions): Result<K, string[]>;
    history(key: string): Result<K, Entry[]>;
    /** What is there and what changes, until the loop is left, `timeout` is over or the call's time is. */
    watch(filter?: string | WatchOptions, options?: WatchOptions): K extends Async ? AsyncIterableIterator<Entry> : IterableIterator<Entry>;
  }
  interface WatchOptions {
    filter?: string;
    /** All that is kept of every key first, not only the last of each. */
    history?: boolean;
    /** Nothing of what is there already. */
    updatesOnly?: boolean;
    ignoreDeletes?: boolean;
    /** Without values. */
    metaOnly?: boolean;
    /** What came after this revision. */
    resumeFromRevision?: number;
    /** Milliseconds without a change after which the iteration ends. */
    timeout?: number;
  }

  interface ObjectWriter<K> {
    write(piece: Payload): Result<K, void>;
    close(): Result<K, ObjectInfo>;
    abort(): Result<K, void>;
  }
  type ObjectSource<K> = K extends Async
    ? ReadableStream<Uint8Array> | AsyncIterable<Payload> | Iterable<Payload> | ArrayBufferView | ArrayBuffer | string
    : Iterable<Payload> | ArrayBufferView | ArrayBuffer | string;
  type ObjectStream<K> = K extends Async
    ? ReadableStream<Uint8Array> & AsyncIterable<Uint8Array> & { readonly info: ObjectInfo }
    : IterableIterator<Uint8Array> & { readonly info: ObjectInfo };
  interface ObjectStore<K> {
    get(name: string): Result<K, ObjectBytes>;
    put(name: string, value: Payload, options?: ObjectOptions): Result<K, ObjectInfo>;
    delete(name: string): Result<K, void>;
    info(name: string): Result<K, ObjectInfo>;
    list(): Result<K, ObjectInfo[]>;
    getStream(name: string): Result<K, ObjectStream<K>>;
    putStream(name: string): Result<K, ObjectWriter<K>>;
    putStream(name: string, source: ObjectSource<K>, options?: ObjectOptions): Result<K, ObjectInfo>;
  }

  interface Http<K> {
    get(url: string, options?: HttpRequest): Result<K, HttpResponse>;
    head(url: string, options?: HttpRequest): Result<K, HttpResponse>;
    delete(url: string, options?: HttpRequest): Result<K, HttpResponse>;
    post(url: string, body?: Payload | URLSearchParams, options?: HttpOptions): Result<K, HttpResponse>;
    put(url: string, body?: Payload | URLSearchParams, options?: HttpOptions): Result<K, HttpResponse>;
    patch(url: string, body?: Payload | URLSearchParams, options?: HttpOptions): Result<K, HttpResponse>;
    request(url: string, options?: HttpRequest): Result<K, HttpResponse>;
    request(options: HttpRequest & { url: string }): Result<K, HttpResponse>;
  }

  interface Services<K> {
    readonly messaging: Messaging<K>;
    /** A bucket by name; the methods themselves are of bucket HostServices_KeyValue. */
    readonly kv: ((bucket: string) => KeyValue<K>) & KeyValue<K>;
    /** A bucket by name; the methods themselves are of bucket HostServices_ObjectStore. */
    readonly objectStore: ((bucket: string) => ObjectStore<K>) & ObjectStore<K>;
    readonly http: Http<K>;
  }

  interface Message {
    readonly subject: string;
    readonly tokens: string[];
    readonly reply: string | undefined;
    readonly headers: MessageHeaders;
    readonly data: Uint8Array;
    readonly payload: Uint8Array;
    text(): string;
    json(): any;
  }
  interface Context {
    readonly name: string;
    waitUntil(promise: Promise<unknown>): void;
  }
  /** The services with promises, and the function's environment variables. */
  type Env = Services<Async> & { readonly [variable: string]: any };

  /** Text and bytes are sent as they are, a Response with its headers, undefined not at all, the rest as JSON. */
  type Answer = unknown | Promise<unknown>;
  interface Module {
    message(msg: Message, env: Env, ctx: Context): Answer;
  }
  type Handler = (msg: Message, env: Env, ctx: Context) => Answer;
  /** The expression form: everything is answered as JSON but bytes. */
  type Expression = (subject: string, payload: Uint8Array) => Answer;
}

declare var messaging: Brokkr.Services<Brokkr.Sync>["messaging"];
declare var kv: Brokkr.Services<Brokkr.Sync>["kv"];
declare var objectStore: Brokkr.Services<Brokkr.Sync>["objectStore"];
declare var http: Brokkr.Services<Brokkr.Sync>["http"];
declare var hostServices: Brokkr.Services<Brokkr.Sync>;
