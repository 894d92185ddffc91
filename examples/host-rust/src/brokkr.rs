//! Host services of Brokkr: the import module "brokkr", as sdk/c/brokkr.h describes it.
#![allow(dead_code)]

use std::fmt;

#[link(wasm_import_module = "brokkr")]
extern "C" {
    #[link_name = "result_size"]
    fn raw_result_size(part: i32) -> i32;
    #[link_name = "result_read"]
    fn raw_result_read(part: i32, offset: i32, out: *mut u8, size: i32) -> i32;
    #[link_name = "result_revision"]
    fn raw_result_revision() -> i64;
    #[link_name = "kv_get"]
    fn raw_kv_get(bucket: *const u8, bucket_size: i32, key: *const u8, key_size: i32) -> i32;
    #[link_name = "kv_put"]
    fn raw_kv_put(bucket: *const u8, bucket_size: i32, key: *const u8, key_size: i32, value: *const u8,
                  value_size: i32) -> i32;
    #[link_name = "object_get"]
    fn raw_object_get(bucket: *const u8, bucket_size: i32, name: *const u8, name_size: i32) -> i32;
    #[link_name = "object_put"]
    fn raw_object_put(bucket: *const u8, bucket_size: i32, name: *const u8, name_size: i32, bytes: *const u8,
                      size: i32) -> i32;
    #[link_name = "publish"]
    fn raw_publish(subject: *const u8, subject_size: i32, reply: *const u8, reply_size: i32, headers: *const u8,
                   headers_size: i32, payload: *const u8, size: i32) -> i32;
    #[link_name = "request"]
    fn raw_request(subject: *const u8, subject_size: i32, headers: *const u8, headers_size: i32,
                   payload: *const u8, size: i32, timeout_ms: i32) -> i32;
    #[link_name = "http"]
    fn raw_http(method: *const u8, method_size: i32, url: *const u8, url_size: i32, headers: *const u8,
                headers_size: i32, body: *const u8, body_size: i32, timeout_ms: i32) -> i32;
}

const PAYLOAD: i32 = 0;
const ERROR: i32 = 3;

/// Why a call failed: a code as in HTTP (404 not there, 403 not allowed, 408 timed out, …) and a text.
#[derive(Debug)]
pub struct Error {
    pub code: i32,
    pub text: String,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{} {}", self.code, self.text)
    }
}

fn part(number: i32) -> Vec<u8> {
    let mut bytes = vec![0; unsafe { raw_result_size(number) } as usize];
    let copied = unsafe { raw_result_read(number, 0, bytes.as_mut_ptr(), bytes.len() as i32) };
    bytes.truncate(copied as usize);
    bytes
}

fn check(result: i32) -> Result<i32, Error> {
    if result >= 0 {
        return Ok(result);
    }
    Err(Error { code: -result, text: String::from_utf8_lossy(&part(ERROR)).into_owned() })
}

pub fn kv_get(bucket: &str, key: &str) -> Result<Vec<u8>, Error> {
    check(unsafe { raw_kv_get(bucket.as_ptr(), bucket.len() as i32, key.as_ptr(), key.len() as i32) })?;
    Ok(part(PAYLOAD))
}

/// Gives the new revision.
pub fn kv_put(bucket: &str, key: &str, value: &[u8]) -> Result<i64, Error> {
    check(unsafe {
        raw_kv_put(bucket.as_ptr(), bucket.len() as i32, key.as_ptr(), key.len() as i32, value.as_ptr(),
                   value.len() as i32)
    })?;
    Ok(unsafe { raw_result_revision() })
}

pub fn object_get(bucket: &str, name: &str) -> Result<Vec<u8>, Error> {
    check(unsafe { raw_object_get(bucket.as_ptr(), bucket.len() as i32, name.as_ptr(), name.len() as i32) })?;
    Ok(part(PAYLOAD))
}

pub fn object_put(bucket: &str, name: &str, bytes: &[u8]) -> Result<(), Error> {
    check(unsafe {
        raw_object_put(bucket.as_ptr(), bucket.len() as i32, name.as_ptr(), name.len() as i32, bytes.as_ptr(),
                       bytes.len() as i32)
    })?;
    Ok(())
}

pub fn publish(subject: &str, payload: &[u8]) -> Result<(), Error> {
    let none = "".as_ptr();
    check(unsafe {
        raw_publish(subject.as_ptr(), subject.len() as i32, none, 0, none, 0, payload.as_ptr(), payload.len() as i32)
    })?;
    Ok(())
}

/// `timeout_ms` of 0 is the function's own.
pub fn request(subject: &str, payload: &[u8], timeout_ms: i32) -> Result<Vec<u8>, Error> {
    check(unsafe {
        raw_request(subject.as_ptr(), subject.len() as i32, "".as_ptr(), 0, payload.as_ptr(), payload.len() as i32,
                    timeout_ms)
    })?;
    Ok(part(PAYLOAD))
}

/// Status and body.
pub fn http(method: &str, url: &str, body: &[u8], timeout_ms: i32) -> Result<(i32, Vec<u8>), Error> {
    let status = check(unsafe {
        raw_http(method.as_ptr(), method.len() as i32, url.as_ptr(), url.len() as i32, "".as_ptr(), 0,
                 body.as_ptr(), body.len() as i32, timeout_ms)
    })?;
    Ok((status, part(PAYLOAD)))
}
