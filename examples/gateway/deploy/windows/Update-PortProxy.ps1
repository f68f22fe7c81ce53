<#
.SYNOPSIS
  Leads a port of this computer to the virtual machine of WSL, whose address changes at each of its starts.
.DESCRIPTION
  Enable-MenderGateway.ps1 -Mode Nat makes a scheduled task of it, and says in state.json which port to lead where. Run by
  hand, it needs an administrator.
#>
[CmdletBinding()]
param(
  [ValidateRange(0, 3600)] [int]$WaitSeconds = 300
)
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'MenderGateway.psm1') -Force

function Get-WslAddress {
  param([string]$Distribution)
  $arguments = @()
  if ($Distribution) { $arguments += @('-d', $Distribution) }
  $arguments += @('hostname', '-I')
  # What wsl.exe writes to standard error must not end the script.
  $ErrorActionPreference = 'Continue'
  $text = (& wsl.exe @arguments 2>$null) -join ' '
  if ($LASTEXITCODE -eq 0 -and $text -match '\b(\d{1,3}(?:\.\d{1,3}){3})\b') { return $Matches[1] }
  return $null
}

$end = (Get-Date).AddSeconds($WaitSeconds)
while ($true) {
  $state = Read-State
  if ($null -eq $state -or $state.Mode -ne 'Nat') { throw 'there is no port to lead: Enable-MenderGateway.ps1 -Mode Nat comes first' }
  $address = Get-WslAddress -Distribution $state.Distribution
  if ($address) { break }
  if ((Get-Date) -gt $end) { throw "WSL says no address after $WaitSeconds s: is Docker Desktop running, and has 'wsl -l' a distribution other than docker-desktop?" }
  Start-Sleep -Seconds 5
}

$listen = @('listenaddress=0.0.0.0', "listenport=$($state.Port)")
foreach ($proxy in @(Get-PortProxies)) {
  if ($proxy.Port -ne $state.Port -or $proxy.Address -ne '0.0.0.0') { continue }
  if ($proxy.Target -ne $state.PortProxy) { throw "the port proxy from 0.0.0.0:$($state.Port) to $($proxy.Target) is not of these scripts, and stays" }
  & netsh.exe interface portproxy delete v4tov4 @listen | Out-Null
}
# The record first: what is there is of these scripts if it leads to where that says.
$state.PortProxy = "${address}:$($state.TargetPort)"
Write-State -State $state
& netsh.exe interface portproxy add v4tov4 @listen "connectaddress=$address" "connectport=$($state.TargetPort)" | Out-Null
if ($LASTEXITCODE -ne 0) { throw "netsh could not lead port $($state.Port) to $($state.PortProxy)" }
Write-Output "port $($state.Port) leads to $($state.PortProxy)"
