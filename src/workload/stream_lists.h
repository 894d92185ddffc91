#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "client/connection.h"
#include "workload/access.h"

// The requests to $JS.API that tell of all streams of an account, answered with those a workload may
// use.
namespace brokkr::workload {

// $JS.API.STREAM.NAMES, $JS.API.STREAM.LIST or $JS.API.INFO.
bool is_list_request(std::string_view subject);

using ListHandler = Callback<void(const Result<std::string>& answer)>;

// Asks the server page by page and calls back once with the JSON for the program: a page of what is
// left, or the API's error; or with NoResponders. Of INFO only the default namespace learns how much
// is used. Not called when the connection is destroyed before.
void answer_list_request(client::Connection& connection, std::shared_ptr<const Access> access,
                         std::string_view subject, std::string_view body, ListHandler done);

}  // namespace brokkr::workload
