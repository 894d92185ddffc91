// Web streams, from the ponyfill, under their own names.
import {
  ReadableStream, ReadableStreamDefaultReader, WritableStream, TransformStream,
  ByteLengthQueuingStrategy, CountQueuingStrategy,
} from "web-streams-polyfill";
import { expose } from "./primordials.js";

expose({
  ReadableStream, ReadableStreamDefaultReader, WritableStream, TransformStream,
  ByteLengthQueuingStrategy, CountQueuingStrategy,
});
