#pragma once

// Mender's device API: which call it is, artifact links, the relay.
#include <mgw/mender/artifact_link.hpp>
#include <mgw/mender/artifact_route.hpp>
#include <mgw/mender/auth_request.hpp>
#include <mgw/mender/auth_sets.hpp>
#include <mgw/mender/authorizer.hpp>
#include <mgw/mender/base64.hpp>
#include <mgw/mender/bindings.hpp>
#include <mgw/mender/decisions.hpp>
#include <mgw/mender/deployments.hpp>
#include <mgw/mender/device_api.hpp>
#include <mgw/mender/device_relay.hpp>
#include <mgw/mender/error.hpp>
#include <mgw/mender/error_body.hpp>
#include <mgw/mender/identity.hpp>
#include <mgw/mender/inventory.hpp>
#include <mgw/mender/json_scanner.hpp>
#include <mgw/mender/link_claims.hpp>
#include <mgw/mender/management_client.hpp>
#include <mgw/mender/overload.hpp>
#include <mgw/mender/own_copies.hpp>
#include <mgw/mender/public_key.hpp>
#include <mgw/mender/request_fields.hpp>
#include <mgw/mender/tenants.hpp>
#include <mgw/mender/text.hpp>
#include <mgw/mender/whitelist.hpp>
