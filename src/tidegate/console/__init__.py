"""The console: pages at `/` of the control plane, over the API, on behalf of whoever looks at them.

`control.site` serves it beside the API and has checked who asks. It knows the client's shapes and nothing behind them.
"""
